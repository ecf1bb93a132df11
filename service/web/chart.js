// The coordinate system that the curve editor and the timeline share: time across, intensity up.

import { formatTime, setAttributes, svgElement } from "./dom.js";

const MARGIN = { top: 14, right: 20, bottom: 30, left: 40 };
const TICK_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const TICK_SPACING_PX = 58;

export const LINES = ["arousal", "valence"];

export function smoothPath(points) {
  if (points.length === 0) return "";
  const at = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  let path = `M${at(points[0])}`;
  // Quadratic pieces between midpoints: smooth, and never beyond the drawn values.
  for (let i = 1; i < points.length - 1; i += 1) {
    const middle = [(points[i][0] + points[i + 1][0]) / 2, (points[i][1] + points[i + 1][1]) / 2];
    path += `Q${at(points[i])} ${at(middle)}`;
  }
  return `${path}L${at(points[points.length - 1])}`;
}

const tick = (x, y, anchor, text) =>
  svgElement("text", { class: "chart__tick", x, y, "text-anchor": anchor }, text);

export class Chart {
  constructor(host, label) {
    this.svg = svgElement("svg", { class: "chart", role: "group", "aria-label": label });
    this.grid = svgElement("g", { class: "chart__grid", "aria-hidden": "true" });
    this.layer = svgElement("g");
    this.svg.append(this.grid, this.layer);
    host.append(this.svg);
    this.host = host;
    this.duration = 30;
    this.resize();
  }

  // The picture is drawn in the element's own pixels, so text and strokes keep their size at any width.
  onResize(draw) {
    new ResizeObserver(() => {
      if (this.host.clientWidth === 0) return;
      this.resize();
      draw();
    }).observe(this.host);
  }

  resize() {
    this.width = this.host.clientWidth || 640;
    this.height = this.host.clientHeight || 280;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
  }

  get plotWidth() { return this.width - MARGIN.left - MARGIN.right; }
  get plotHeight() { return this.height - MARGIN.top - MARGIN.bottom; }

  x(time) { return MARGIN.left + (time / this.duration) * this.plotWidth; }
  y(value) { return MARGIN.top + ((1 - value) / 2) * this.plotHeight; }

  timeAt(x) { return ((x - MARGIN.left) / this.plotWidth) * this.duration; }
  valueAt(y) { return 1 - ((y - MARGIN.top) / this.plotHeight) * 2; }

  position(event) {
    const box = this.svg.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  drawGrid() {
    const right = this.width - MARGIN.right;
    const bottom = this.height - MARGIN.bottom;
    const marks = [];
    for (const value of [1, 0.5, 0, -0.5, -1]) {
      const y = this.y(value);
      const kind = value === 0 ? "chart__zero" : "chart__rule";
      marks.push(svgElement("line", { class: kind, x1: MARGIN.left, x2: right, y1: y, y2: y }));
      if (!Number.isInteger(value)) continue;
      const text = value > 0 ? "+1" : value < 0 ? "−1" : "0";
      marks.push(tick(MARGIN.left - 10, y + 4, "end", text));
    }
    const room = Math.max(2, this.plotWidth / TICK_SPACING_PX);
    const step = TICK_STEPS_S.find((seconds) => this.duration / seconds <= room) ?? TICK_STEPS_S.at(-1);
    for (let time = 0; time <= this.duration + 1e-6; time += step) {
      const x = this.x(time);
      marks.push(svgElement("line", { class: "chart__time", x1: x, x2: x, y1: bottom, y2: bottom + 5 }));
      marks.push(tick(x, bottom + 20, "middle", formatTime(time)));
    }
    this.grid.replaceChildren(...marks);
  }

  // Each value holds for one step, so the last one reaches the right edge.
  points(values, rate) {
    const points = values.map((value, i) => [this.x(i / rate), this.y(value)]);
    points.push([this.x(this.duration), this.y(values[values.length - 1])]);
    return points;
  }

  setVertical(line, time) {
    const x = this.x(time);
    setAttributes(line, { x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom });
  }
}
