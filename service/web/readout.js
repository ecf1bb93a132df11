// The numbers behind a path on the plane: where it starts, where it ends, and where the music is now.

import { element, formatSigned } from "./dom.js";
import { curveDuration, isConstant, nearestMood, pointAt } from "./emotion.js";

function line(kind, testId) {
  const cells = {
    mood: element("td", { class: "readout__mood" }),
    arousal: element("td", { class: "readout__arousal" }),
    valence: element("td", { class: "readout__valence" }),
  };
  const name = element("span", {}, kind);
  const row = element(
    "tr",
    { "data-testid": testId, hidden: true },
    element("th", { scope: "row" }, element("span", { class: `key key--${kind}`, "aria-hidden": "true" }), name),
    ...Object.values(cells),
  );
  return { row, cells, name };
}

export class Readout {
  constructor(host, testId) {
    this.moods = [];
    this.lines = Object.fromEntries(["start", "end", "now"].map((kind) => [kind, line(kind, `${testId}-${kind}`)]));
    const heads = ["near", "arousal", "valence"].map((name) => element("th", { scope: "col" }, name));
    this.table = element(
      "table",
      { class: "readout", hidden: true },
      element("thead", {}, element("tr", {}, element("td"), ...heads)),
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
    const constant = isConstant(curve);
    this.table.hidden = false;
    this.lines.end.name.textContent = constant ? "point" : "end";
    this.show("start", constant ? null : pointAt(curve, 0));
    this.show("end", pointAt(curve, curveDuration(curve)));
  }
}
