// A small picture of two curves over one window: the asked one dashed, the found one solid.

import { setAttributes, svgElement, element } from "./dom.js";
import { moodGradient, thinCurve } from "./emotion.js";

const WIDTH = 240;
const HEIGHT = 60;
const PAD = 4;
const POINTS = 120;

function outline(curve, line) {
  const points = thinCurve(curve, POINTS);
  const across = points.length > 1 ? points[points.length - 1].time : 1;
  const at = (time, value) =>
    `${((time / across) * WIDTH).toFixed(1)},${(PAD + ((1 - value) / 2) * (HEIGHT - 2 * PAD)).toFixed(1)}`;
  if (points.length === 1) return `${at(0, points[0][line])} ${at(across, points[0][line])}`;
  return points.map((point) => at(point.time, point[line])).join(" ");
}

function stroke(curve, line, kind) {
  return svgElement("polyline", {
    class: `line line--${line} line--${kind}`, points: outline(curve, line),
    "vector-effect": "non-scaling-stroke",
  });
}

export class MiniChart {
  constructor(label) {
    this.playhead = svgElement("line", {
      class: "playhead", y1: 0, y2: HEIGHT, visibility: "hidden", "vector-effect": "non-scaling-stroke",
    });
    this.curves = svgElement("g");
    this.svg = svgElement(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      svgElement("line", {
        class: "chart__zero", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2, "vector-effect": "non-scaling-stroke",
      }),
      this.curves,
      this.playhead,
    );
    this.ribbon = element("div", { class: "ribbon ribbon--thin" });
    this.node = element("div", { class: "mini-chart", "data-testid": "mini-chart" }, this.svg, this.ribbon);
  }

  draw(asked, found) {
    this.curves.replaceChildren(
      stroke(asked, "arousal", "asked"), stroke(asked, "valence", "asked"),
      stroke(found, "arousal", "found"), stroke(found, "valence", "found"),
    );
    this.ribbon.style.background = moodGradient(found);
  }

  // `part` runs from 0 to 1 over the window; outside it there is no playhead.
  setPlayhead(part) {
    const inside = part !== null && part >= 0 && part <= 1;
    this.playhead.setAttribute("visibility", inside ? "visible" : "hidden");
    if (inside) setAttributes(this.playhead, { x1: part * WIDTH, x2: part * WIDTH });
  }
}
