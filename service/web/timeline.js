// The emotion of a recording over time, each line with a band of one standard deviation, and a playhead.

import { Chart, LINES, smoothPath } from "./chart.js";
import { formatSigned, formatTime, setAttributes, svgElement } from "./dom.js";
import { clamp, pointAt } from "./emotion.js";

const POINTS = 600;
const KEY_STEP_S = 5;

export class Timeline extends EventTarget {
  constructor(host) {
    super();
    this.chart = new Chart(host, "Emotion over time");
    this.chart.svg.classList.add("chart--seekable");
    setAttributes(this.chart.svg, {
      role: "slider", tabindex: 0, "aria-label": "Position in the recording", "aria-valuemin": 0,
    });
    this.chart.svg.dataset.testid = "timeline";
    this.playhead = svgElement("line", { class: "playhead", visibility: "hidden" });
    this.chart.svg.append(this.playhead);
    this.chart.onResize(() => this.draw());
    this.chart.svg.addEventListener("click", (event) => {
      this.seek(this.chart.timeAt(this.chart.position(event).x));
    });
    this.chart.svg.addEventListener("keydown", (event) => this.onKey(event));
    this.time = 0;
  }

  onKey(event) {
    const target = {
      ArrowLeft: this.time - KEY_STEP_S, ArrowRight: this.time + KEY_STEP_S, Home: 0, End: this.chart.duration,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.seek(target);
  }

  seek(time) {
    if (!this.curve) return;
    const inside = clamp(time, 0, this.chart.duration);
    this.setTime(inside);
    this.dispatchEvent(new CustomEvent("seek", { detail: inside }));
  }

  setCurve(curve, duration) {
    this.curve = curve;
    this.chart.duration = duration;
    this.chart.svg.setAttribute("aria-valuemax", duration.toFixed(1));
    this.chart.resize();
    this.draw();
    this.setTime(0);
  }

  draw() {
    if (!this.curve) return;
    this.chart.drawGrid();
    this.chart.layer.replaceChildren(
      ...LINES.map((line) => this.band(line)).filter(Boolean),
      ...LINES.flatMap((line) => this.line(line)),
    );
    this.setTime(this.time);
  }

  // An hour has more steps than a screen has pixels.
  get stride() { return Math.max(1, Math.ceil(this.curve.arousal.length / POINTS)); }

  thinned(values) {
    return values.filter((_, i) => i % this.stride === 0);
  }

  pointsOf(values) {
    return this.chart.points(this.thinned(values), this.curve.rate_hz / this.stride);
  }

  band(line) {
    const spread = this.curve[`${line}_sd`];
    if (!spread) return null;
    const edge = (sign) => this.pointsOf(this.curve[line].map((value, i) => clamp(value + sign * spread[i])));
    const around = [...edge(1), ...edge(-1).reverse()].map((point) => point.map((n) => n.toFixed(1)).join(","));
    return svgElement("polygon", { class: `band band--${line}`, points: around.join(" ") });
  }

  line(line) {
    const points = this.pointsOf(this.curve[line]);
    const end = points[points.length - 1];
    const other = this.curve[line === "arousal" ? "valence" : "arousal"].at(-1);
    const above = this.curve[line].at(-1) > other;
    return [
      svgElement("path", { class: `line line--${line}`, d: smoothPath(points), "data-testid": `timeline-${line}` }),
      svgElement(
        "text",
        { class: `line-name line-name--${line}`, x: end[0] - 8, y: end[1] + (above ? -12 : 22), "text-anchor": "end" },
        line,
      ),
    ];
  }

  setTime(time) {
    this.time = time;
    if (!this.curve) return;
    const { arousal, valence } = pointAt(this.curve, time);
    this.playhead.setAttribute("visibility", "visible");
    this.chart.setVertical(this.playhead, Math.min(time, this.chart.duration));
    setAttributes(this.chart.svg, {
      "aria-valuenow": time.toFixed(1),
      "aria-valuetext":
        `${formatTime(time)}, arousal ${formatSigned(arousal)}, valence ${formatSigned(valence)}`,
    });
  }
}
