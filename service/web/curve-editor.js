// Draws arousal and valence over time: freehand with any pointer, or by control points with the keyboard.

import { Chart, LINES, smoothPath } from "./chart.js";
import { formatSigned, setAttributes, svgElement } from "./dom.js";
import { RATE_HZ, clamp, stretchCurve } from "./emotion.js";

const HANDLES = 7;
const GRAB_PX = 14;
const DECIDE_PX = 5;
const UNDO_LIMIT = 50;

const SHAPES = {
  rising: (part) => -0.7 + 1.4 * part,
  falling: (part) => 0.7 - 1.4 * part,
  arch: (part) => -0.6 + 1.3 * Math.sin(Math.PI * part),
  valley: (part) => 0.6 - 1.3 * Math.sin(Math.PI * part),
};

const HANDLE_SHAPES = { arousal: "M0-6a6 6 0 1 0 .01 0z", valence: "M0-7L7 0L0 7L-7 0z" };

export class CurveEditor extends EventTarget {
  constructor(host, curve) {
    super();
    this.chart = new Chart(host, "Arousal and valence over time");
    this.chart.svg.classList.add("chart--drawable");
    this.chart.svg.dataset.testid = "curve-canvas";
    this.active = "arousal";
    this.history = [];
    this.values = { arousal: [], valence: [] };
    this.build();
    this.chart.onResize(() => this.draw());
    this.chart.svg.addEventListener("pointerdown", (event) => this.onDown(event));
    this.chart.svg.addEventListener("pointermove", (event) => this.onMove(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.chart.svg.addEventListener(end, (event) => this.onUp(event));
    }
    this.setCurve(curve);
  }

  build() {
    this.paths = {};
    this.names = {};
    this.handles = {};
    for (const line of LINES) {
      this.paths[line] = svgElement("path", { class: `line line--${line}`, "data-testid": `line-${line}` });
      this.names[line] = svgElement("text", { class: `line-name line-name--${line}` }, line);
      this.handles[line] = Array.from({ length: HANDLES }, (_, i) => this.buildHandle(line, i));
    }
    this.groups = Object.fromEntries(LINES.map((line) => [
      line,
      svgElement("g", { role: "group", "aria-label": `${line} control points` }, ...this.handles[line]),
    ]));
    this.strokes = svgElement(
      "g", { "aria-hidden": "true" }, ...LINES.flatMap((line) => [this.paths[line], this.names[line]]),
    );
    this.chart.layer.append(this.strokes, this.groups.arousal, this.groups.valence);
  }

  buildHandle(line, index) {
    const handle = svgElement("path", {
      class: `handle handle--${line}`, d: HANDLE_SHAPES[line], role: "slider", tabindex: index ? -1 : 0,
      "aria-orientation": "vertical", "aria-valuemin": -1, "aria-valuemax": 1,
      "data-testid": `handle-${line}-${index}`,
    });
    handle.addEventListener("focus", () => {
      this.setActive(line);
      this.handles[line].forEach((other) => other.setAttribute("tabindex", other === handle ? 0 : -1));
    });
    handle.addEventListener("keydown", (event) => this.onKey(event, line, index));
    return handle;
  }

  get length() { return this.values.arousal.length; }
  get duration() { return this.length / RATE_HZ; }

  get curve() {
    const rounded = (values) => values.map((value) => Math.round(value * 1000) / 1000);
    return {
      arousal: rounded(this.values.arousal), valence: rounded(this.values.valence),
      rate_hz: RATE_HZ, scale: "signed",
    };
  }

  setCurve(curve) {
    this.values = { arousal: [...curve.arousal], valence: [...curve.valence] };
    this.draw();
  }

  setDuration(seconds) {
    this.setCurve(stretchCurve(this.curve, seconds));
  }

  setActive(line) {
    if (this.active === line) return;
    this.active = line;
    this.draw();
    this.dispatchEvent(new CustomEvent("active", { detail: line }));
  }

  applyShape(name) {
    this.remember();
    const last = this.length - 1;
    this.values[this.active] = this.values[this.active].map((_, i) => SHAPES[name](i / last));
    this.changed("change");
  }

  remember() {
    this.history.push(structuredClone(this.values));
    if (this.history.length > UNDO_LIMIT) this.history.shift();
  }

  undo() {
    const before = this.history.pop();
    if (!before) return;
    this.values = before;
    this.changed("change");
  }

  changed(type) {
    this.draw();
    this.dispatchEvent(new CustomEvent(type));
  }

  handleIndex(k) { return Math.round((k * (this.length - 1)) / (HANDLES - 1)); }

  // Moves one control point and eases its neighbourhood along, so that drawn detail survives.
  bend(base, line, k, value) {
    const centre = this.handleIndex(k);
    const reach = (this.length - 1) / (HANDLES - 1);
    const shift = value - base[centre];
    this.values[line] = base.map((old, i) => {
      const away = Math.abs(i - centre) / reach;
      return away >= 1 ? old : clamp(old + shift * 0.5 * (1 + Math.cos(Math.PI * away)));
    });
  }

  onKey(event, line, k) {
    const now = this.values[line][this.handleIndex(k)];
    const fine = event.shiftKey ? 0.01 : 0.05;
    const target = {
      ArrowUp: now + fine, ArrowDown: now - fine, PageUp: now + 0.25, PageDown: now - 0.25, Home: -1, End: 1,
    }[event.key];
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (target === undefined && sideways === undefined) return;
    event.preventDefault();
    if (sideways) {
      this.handles[line][clamp(k + sideways, 0, HANDLES - 1)].focus();
      return;
    }
    this.remember();
    this.bend(this.values[line], line, k, clamp(target));
    this.changed("change");
  }

  nearHandle({ x, y }) {
    const distances = this.handles[this.active].map((_, k) => {
      const i = this.handleIndex(k);
      return Math.hypot(this.chart.x(i / RATE_HZ) - x, this.chart.y(this.values[this.active][i]) - y);
    });
    const nearest = distances.indexOf(Math.min(...distances));
    return distances[nearest] <= GRAB_PX ? nearest : null;
  }

  onDown(event) {
    if (event.button !== 0 || this.stroke) return;
    // Without this the browser would start to select text or drag.
    event.preventDefault();
    this.chart.svg.setPointerCapture(event.pointerId);
    const start = this.chart.position(event);
    const handle = this.nearHandle(start);
    this.remember();
    this.stroke = {
      pointer: event.pointerId, start, handle, base: [...this.values[this.active]],
      mode: handle === null ? "draw" : "undecided", last: null,
    };
    if (handle !== null) this.handles[this.active][handle].focus();
    if (this.stroke.mode === "draw") this.drawTo(start);
  }

  onMove(event) {
    if (this.stroke?.pointer !== event.pointerId) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const sample of events.length ? events : [event]) this.strokeTo(this.chart.position(sample));
  }

  // A pull up or down on a control point bends the line; a movement along it draws.
  strokeTo(position) {
    const { stroke } = this;
    if (stroke.mode === "undecided") {
      const across = Math.abs(position.x - stroke.start.x);
      const along = Math.abs(position.y - stroke.start.y);
      if (Math.max(across, along) < DECIDE_PX) return;
      stroke.mode = along > across ? "bend" : "draw";
      if (stroke.mode === "draw") this.drawTo(stroke.start);
    }
    if (stroke.mode === "draw") return this.drawTo(position);
    this.bend(stroke.base, this.active, stroke.handle, clamp(this.chart.valueAt(position.y)));
    return this.changed("input");
  }

  drawTo({ x, y }) {
    const index = clamp(Math.round(this.chart.timeAt(x) * RATE_HZ), 0, this.length - 1);
    const value = clamp(this.chart.valueAt(y));
    const from = this.stroke.last ?? { index, value };
    const step = Math.sign(index - from.index) || 1;
    for (let i = from.index; i !== index + step; i += step) {
      const part = index === from.index ? 1 : (i - from.index) / (index - from.index);
      this.values[this.active][i] = from.value + (value - from.value) * part;
    }
    this.stroke.last = { index, value };
    this.changed("input");
  }

  onUp(event) {
    if (this.stroke?.pointer !== event.pointerId) return;
    const untouched = this.stroke.mode === "undecided";
    this.stroke = null;
    if (untouched) this.history.pop();
    else this.changed("change");
  }

  draw() {
    this.chart.duration = this.duration;
    this.chart.drawGrid();
    // The selected line lies on top. Its control points stay where they are, so that Tab keeps its order.
    this.strokes.append(this.paths[this.active], this.names[this.active]);
    for (const line of LINES) this.drawLine(line);
  }

  drawLine(line) {
    const values = this.values[line];
    this.paths[line].setAttribute("d", smoothPath(this.chart.points(values, RATE_HZ)));
    for (const part of [this.paths[line], this.groups[line]]) {
      part.classList.toggle("unselected", line !== this.active);
    }
    const end = values[values.length - 1];
    const other = this.values[line === "arousal" ? "valence" : "arousal"].at(-1);
    // The names sit on the outer sides of the two lines, so that they never cover each other.
    const above = end > other || (end === other && line === "arousal");
    setAttributes(this.names[line], {
      x: this.chart.width - 22, y: clamp(this.chart.y(end) + (above ? -12 : 22), 24, this.chart.height - 38),
      "text-anchor": "end",
    });
    this.handles[line].forEach((handle, k) => {
      const i = this.handleIndex(k);
      const time = i / RATE_HZ;
      setAttributes(handle, {
        transform: `translate(${this.chart.x(time).toFixed(1)} ${this.chart.y(values[i]).toFixed(1)})`,
        "aria-label": `${line} at ${time.toFixed(0)} seconds`,
        "aria-valuenow": values[i].toFixed(2), "aria-valuetext": formatSigned(values[i]),
      });
    });
  }
}
