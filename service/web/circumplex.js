// The emotion plane: valence across, arousal up, mood words around it, and the path of a curve in it.
// With `interactive`, a click or the arrow keys choose a point and a click on a word chooses a mood.

import { formatSigned, setAttributes, svgElement } from "./dom.js";
import { clamp, isConstant, moodColour, pointAt, thinCurve } from "./emotion.js";

const RADIUS = 132;
const LABEL_RADIUS = 150;
const VIEW = 218;
const LABEL_GAP_DEG = 5.8;
const DOT_SPACING = 12;
const PATH_POINTS = 180;
// How many pieces the outline runs ahead of the path, so that it parts crossings but no joints.
const OUTLINE_LEAD = 4;
const KEY_STEP = 0.05;

const place = ({ valence, arousal }) => [valence * RADIUS, -arousal * RADIUS];

// Push labels that share a direction apart until each has room.
function spreadAngles(angles) {
  const spread = [...angles];
  for (let round = 0; round < 200; round += 1) {
    for (let i = 0; i < spread.length; i += 1) {
      const next = (i + 1) % spread.length;
      const gap = spread[next] - spread[i] + (next === 0 ? 360 : 0);
      if (gap < LABEL_GAP_DEG) {
        const push = (LABEL_GAP_DEG - gap) / 2;
        spread[i] -= push;
        spread[next] += push;
      }
    }
  }
  return spread;
}

function halftone() {
  const group = svgElement("g", { class: "plane__field", "aria-hidden": "true" });
  const reach = Math.floor(RADIUS / DOT_SPACING);
  for (let row = -reach; row <= reach; row += 1) {
    for (let column = -reach; column <= reach; column += 1) {
      const x = column * DOT_SPACING;
      const y = row * DOT_SPACING;
      const radius = Math.hypot(x, y) / RADIUS;
      if (radius > 0.985) continue;
      const dot = svgElement("circle", { cx: x, cy: y, r: (0.7 + 2.3 * radius).toFixed(2) });
      dot.style.fill = moodColour(x / RADIUS, -y / RADIUS);
      group.append(dot);
    }
  }
  return group;
}

function axes() {
  const caption = (x, y, anchor, text) =>
    svgElement("text", { class: "plane__axis-name", x, y, "text-anchor": anchor }, text);
  return svgElement(
    "g",
    { class: "plane__axes", "aria-hidden": "true" },
    svgElement("circle", { r: RADIUS, class: "plane__rim" }),
    svgElement("circle", { r: RADIUS / 2, class: "plane__half" }),
    svgElement("line", { x1: -RADIUS, x2: RADIUS, y1: 0, y2: 0 }),
    svgElement("line", { x1: 0, x2: 0, y1: -RADIUS, y2: RADIUS }),
    caption(RADIUS - 5, -6, "end", "valence"),
    caption(6, -RADIUS + 27, "start", "arousal"),
  );
}

function pieceOfPath(from, to, progress) {
  const [x1, y1] = place(from);
  const [x2, y2] = place(to);
  const width = 2 + 4 * progress;
  const stroke = svgElement("line", { x1, y1, x2, y2, "stroke-width": width.toFixed(2) });
  stroke.style.stroke = moodColour(to.valence, to.arousal);
  const outline = svgElement("line", {
    class: "plane__outline", x1, y1, x2, y2, "stroke-width": (width + 2.6).toFixed(2),
  });
  return { stroke, outline };
}

export class Circumplex extends EventTarget {
  constructor(host, { interactive, label, testId }) {
    super();
    this.moods = [];
    this.cursor = { valence: 0, arousal: 0 };
    this.label = label;
    this.words = svgElement("g", { class: "plane__words", "aria-hidden": "true" });
    this.path = svgElement("g", { class: "plane__path", "aria-hidden": "true" });
    this.now = svgElement("circle", { class: "plane__now", r: 7, visibility: "hidden" });
    this.svg = svgElement(
      "svg",
      {
        class: "plane", viewBox: `${-VIEW} ${-VIEW} ${2 * VIEW} ${2 * VIEW}`,
        role: "img", "aria-label": label, "data-testid": testId,
      },
      halftone(), axes(), this.words, this.path, this.now,
    );
    host.append(this.svg);
    if (interactive) this.listen();
  }

  listen() {
    this.svg.classList.add("plane--interactive");
    setAttributes(this.svg, {
      tabindex: 0, role: "application", "aria-roledescription": "two-dimensional pad",
    });
    this.describe();
    this.svg.addEventListener("pointerdown", (event) => {
      if (event.target.closest("[data-word]") || event.button !== 0) return;
      this.svg.setPointerCapture(event.pointerId);
      // A finger may only want to scroll past: it picks when it lifts.
      if (event.pointerType !== "touch") this.pick(this.emotionAt(event), false);
    });
    this.svg.addEventListener("pointermove", (event) => {
      const held = this.svg.hasPointerCapture(event.pointerId);
      if (held && event.pointerType !== "touch") this.pick(this.emotionAt(event), false);
    });
    this.svg.addEventListener("pointerup", (event) => {
      if (this.svg.hasPointerCapture(event.pointerId)) this.pick(this.emotionAt(event), true);
    });
    this.svg.addEventListener("click", (event) => {
      const word = event.target.closest("[data-word]")?.dataset.word;
      if (word) this.dispatchEvent(new CustomEvent("mood", { detail: word }));
    });
    this.svg.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    const step = event.shiftKey ? KEY_STEP * 4 : KEY_STEP;
    const moves = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.pick({
      valence: clamp(this.cursor.valence + move[0] * step),
      arousal: clamp(this.cursor.arousal + move[1] * step),
    }, true);
  }

  emotionAt(event) {
    const box = this.svg.getBoundingClientRect();
    const scale = (2 * VIEW) / box.width;
    return {
      valence: clamp(((event.clientX - box.left) * scale - VIEW) / RADIUS),
      arousal: clamp((VIEW - (event.clientY - box.top) * scale) / RADIUS),
    };
  }

  pick(point, final) {
    const rounded = {
      valence: Math.round(point.valence * 100) / 100,
      arousal: Math.round(point.arousal * 100) / 100,
    };
    this.dispatchEvent(new CustomEvent("pick", { detail: { point: rounded, final } }));
  }

  describe() {
    const { valence, arousal } = this.cursor;
    this.svg.setAttribute(
      "aria-label",
      `${this.label}. Valence ${formatSigned(valence)}, arousal ${formatSigned(arousal)}. ` +
        "Arrow keys move the point.",
    );
  }

  setMoods(moods) {
    const degrees = ({ valence, arousal }) => ((Math.atan2(arousal, valence) * 180) / Math.PI + 360) % 360;
    this.moods = [...moods].sort((a, b) => degrees(a) - degrees(b));
    const labelAngles = spreadAngles(this.moods.map(degrees));
    this.words.replaceChildren(...this.moods.map((mood, i) => this.wordMark(mood, labelAngles[i])));
  }

  wordMark(mood, labelAngle) {
    const radians = (labelAngle * Math.PI) / 180;
    const radius = Math.hypot(mood.valence, mood.arousal) || 1;
    const [x, y] = [(mood.valence / radius) * RADIUS, (-mood.arousal / radius) * RADIUS];
    const outer = [Math.cos(radians) * (LABEL_RADIUS - 4), -Math.sin(radians) * (LABEL_RADIUS - 4)];
    // Words on the left are turned round, so that none stands on its head.
    const flipped = Math.cos(radians) < 0;
    const turn = flipped ? 180 - labelAngle : -labelAngle;
    const dot = svgElement("circle", { cx: x, cy: y, r: 3.4 });
    dot.style.fill = moodColour(mood.valence, mood.arousal);
    return svgElement(
      "g",
      { class: "plane__word", "data-word": mood.word },
      svgElement("line", { x1: x, y1: y, x2: outer[0], y2: outer[1] }),
      dot,
      svgElement(
        "text",
        {
          transform: `rotate(${turn.toFixed(2)}) translate(${flipped ? -LABEL_RADIUS : LABEL_RADIUS} 0)`,
          "text-anchor": flipped ? "end" : "start", dy: "0.34em",
        },
        mood.word,
      ),
    );
  }

  highlightMood(word) {
    for (const mark of this.words.children) {
      mark.classList.toggle("plane__word--chosen", mark.dataset.word === word);
    }
  }

  // Time runs along the path: it grows from thin at the ring to broad at the disc.
  setCurve(curve) {
    const first = pointAt(curve, 0);
    this.cursor = first;
    if (this.svg.getAttribute("role") === "application") this.describe();
    const points = thinCurve(curve, PATH_POINTS);
    const last = points[points.length - 1];
    if (isConstant(curve)) {
      this.path.replaceChildren(this.marker(first, 9, "plane__end"));
      return;
    }
    const pieces = points.slice(1).map((point, i) => pieceOfPath(points[i], point, i / points.length));
    const layers = pieces.slice(0, OUTLINE_LEAD).map((piece) => piece.outline);
    pieces.forEach((piece, i) => {
      const ahead = pieces[i + OUTLINE_LEAD];
      if (ahead) layers.push(ahead.outline);
      layers.push(piece.stroke);
    });
    this.path.replaceChildren(
      ...layers, this.marker(first, 5.5, "plane__start"), this.marker(last, 7.5, "plane__end"),
    );
  }

  marker(point, r, name) {
    const [cx, cy] = place(point);
    const mark = svgElement("circle", { class: name, cx, cy, r });
    mark.style.setProperty("--mark", moodColour(point.valence, point.arousal));
    return mark;
  }

  setNow(point) {
    this.now.setAttribute("visibility", point ? "visible" : "hidden");
    if (!point) return;
    const [cx, cy] = place(point);
    setAttributes(this.now, { cx, cy });
  }
}
