// The numbers behind a path on the plane: where it starts, where it ends, and where the music is now.

import { element, formatSigned } from "./dom.js";
import { curveDuration, isConstant, nearestMood, pointAt } from "./emotion.js";

function line(kind, testId) {
  const cells = {
    mood: element("td", { class: "readout__mood" }),
    arousal: element("td", { class: "readout__arousal" }),
    valence: element("td", { class: "readout__valence" }),
  };
  const row = element(
    "tr",
    { "data-testid": testId, hidden: true },
    element("th", { scope: "row" }, element("span", { class: `key key--${kind}`, "aria-hidden": "true" }), kind),
    ...Object.values(cells),
  );
  return { row, cells };
}

export class Readout {
  constructor(host, testId) {
    this.moods = [];
    this.lines = Object.fromEntries(["start", "end", "now"].map((kind) => [kind, line(kind, `${testId}-${kind}`)]));
    const heads = ["", "near", "arousal", "valence"].map((name) => element("th", { scope: "col" }, name));
    this.table = element(
      "table",
      { class: "readout" },
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...Object.values(this.lines).map(({ row }) => row)),
    );
    host.replaceChildren(this.table);
  }

  show(kind, point) {
    const { row, cells } = this.lines[kind];
    row.hidden = !point;
    if (!point) return;
    cells.mood.textContent = nearestMood(this.moods, point);
    cells.arousal.textContent = formatSigned(point.arousal);
    cells.valence.textContent = formatSigned(point.valence);
  }

  setCurve(curve) {
    this.show("start", isConstant(curve) ? null : pointAt(curve, 0));
    this.show("end", pointAt(curve, curveDuration(curve)));
  }
}
