// The ranked tracks: who they are, how close, what their emotion does, and a button that plays them.

import { fetchTrackCurve } from "./api.js";
import { element, formatPercent, formatTime, setIcon } from "./dom.js";
import { pointAt, sliceCurve } from "./emotion.js";
import { MiniChart } from "./mini-chart.js";

const span = ({ start_s: start, end_s: end }) => `${formatTime(start)}–${formatTime(end)}`;

export function similarityMeter(similarity) {
  const bar = element("div", { class: "meter__bar" });
  bar.style.width = `${Math.round(similarity * 100)}%`;
  return element(
    "div",
    { class: "similarity" },
    element("span", { class: "similarity__value", "data-testid": "similarity" }, formatPercent(similarity)),
    element(
      "div",
      {
        class: "meter", role: "meter", "aria-label": "Similarity", "aria-valuemin": 0, "aria-valuemax": 1,
        "aria-valuenow": similarity.toFixed(3), "aria-valuetext": formatPercent(similarity),
      },
      bar,
    ),
  );
}

// The numbers behind the similarity: a button for the row, and the list that it opens below.
export function scoreDetails(result, name) {
  const rows = [
    ["score", result.score.toFixed(4)],
    ["correlation", result.correlation.toFixed(4)],
    ["KL divergence", result.kl_divergence.toFixed(3)],
    ["similarity", result.similarity.toFixed(3)],
    ["part of the query", span(result.query_window)],
  ];
  const panel = element(
    "dl",
    { class: "details", "data-testid": "score-details", hidden: true },
    ...rows.map(([term, value]) => element("div", {}, element("dt", {}, term), element("dd", {}, value))),
  );
  const toggle = element(
    "button",
    {
      type: "button", class: "link", "aria-expanded": "false", "aria-label": `Details of ${name}`,
      "data-testid": "score-details-toggle",
    },
    "Details",
  );
  toggle.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    toggle.setAttribute("aria-expanded", String(!panel.hidden));
  });
  return { toggle, panel };
}

export class TrackResults extends EventTarget {
  constructor(list, player) {
    super();
    this.list = list;
    this.player = player;
    this.rows = [];
    player.addEventListener("state", () => this.rows.forEach((row) => this.updateButton(row)));
    player.addEventListener("time", () => this.rows.forEach((row) => this.updatePlayhead(row)));
  }

  // `asked` is the curve of the query, or a promise of it.
  render(results, asked) {
    this.watcher?.disconnect();
    this.watcher = new IntersectionObserver((entries) => this.onVisible(entries), { rootMargin: "200px" });
    this.asked = asked;
    this.rows = results.map((result) => this.buildRow(result));
    this.list.replaceChildren(...this.rows.map((row) => row.node));
    this.rows.forEach((row) => this.watcher.observe(row.node));
  }

  buildRow(result) {
    const { track, window } = result;
    const row = { result, key: `${track.id}@${window.start_s}`, curve: null };
    row.button = element("button", { type: "button", class: "play", "data-testid": "play" });
    row.button.addEventListener("click", () => this.player.toggle(this.sourceOf(row)));
    row.chart = new MiniChart(
      `Arousal and valence of ${track.title} from ${span(window)}, drawn over the emotion asked for`,
    );
    const similar = element(
      "button",
      {
        type: "button", class: "link", "data-testid": "more-like-this",
        "aria-label": `More like this: ${track.title}`,
      },
      "More like this",
    );
    similar.addEventListener("click", () => {
      this.dispatchEvent(new CustomEvent("similar", { detail: track }));
    });
    const details = scoreDetails(result, track.title);
    row.node = element(
      "li",
      { class: "result", "data-testid": "track-result", "data-track-id": track.id },
      element("span", { class: "result__rank", "aria-hidden": "true" }, String(result.rank)),
      row.button,
      element(
        "div",
        { class: "result__name" },
        element("h3", { class: "result__title", "data-testid": "track-title", title: track.title }, track.title),
        element("p", { class: "result__artist", "data-testid": "track-artist" }, track.artist || "Unknown artist"),
        element(
          "p",
          { class: "result__window" },
          element("span", { "data-testid": "track-window" }, span(window)), ` of ${formatTime(track.duration_s)}`,
        ),
      ),
      row.chart.node,
      similarityMeter(result.similarity),
      element("div", { class: "result__more" }, similar, details.toggle),
      details.panel,
    );
    this.updateButton(row);
    return row;
  }

  sourceOf({ key, result: { track, window } }) {
    return { key, url: track.audio_url, title: track.title, artist: track.artist, start: window.start_s, window };
  }

  updateButton(row) {
    const playing = this.player.isPlaying(row.key);
    const { track, window } = row.result;
    setIcon(
      row.button, playing ? "pause" : "play",
      playing ? `Pause ${track.title}` : `Play ${track.title} from ${formatTime(window.start_s)}`,
    );
    row.node.classList.toggle("result--playing", playing);
  }

  updatePlayhead(row) {
    if (this.player.source?.key !== row.key) return row.chart.setPlayhead(null);
    const { start_s: start, end_s: end } = row.result.window;
    const { time } = this.player;
    row.chart.setPlayhead((time - start) / (end - start));
    const now = row.curve && this.player.playing ? pointAt(row.curve, time) : null;
    return this.dispatchEvent(new CustomEvent("now", { detail: now }));
  }

  onVisible(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.watcher.unobserve(target);
      this.drawCurves(this.rows.find((row) => row.node === target));
    }
  }

  // The picture is an extra: without the track's curve the row still says everything else.
  async drawCurves(row) {
    const { track, window, query_window: part } = row.result;
    try {
      const [asked, curve] = await Promise.all([this.asked, fetchTrackCurve(track.id)]);
      row.curve = curve;
      row.chart.draw(
        sliceCurve(asked, part.start_s, part.end_s), sliceCurve(curve, window.start_s, window.end_s),
      );
    } catch {
      row.chart.node.classList.add("mini-chart--missing");
    }
  }
}
