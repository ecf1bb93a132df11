// The emotions nearest to a recording, each drawn over the part of the recording that it matches.

import { element } from "./dom.js";
import { meanPoint, moodColour, sliceCurve } from "./emotion.js";
import { MiniChart } from "./mini-chart.js";
import { scoreDetails, similarityMeter } from "./results.js";

function card(result, timeline, onUse) {
  const { emotion, window, query_window: part } = result;
  const chart = new MiniChart(`The curve of ${emotion.label}, drawn over the recording`);
  chart.draw(
    sliceCurve(timeline, part.start_s, part.end_s), sliceCurve(emotion.curve, window.start_s, window.end_s),
  );
  const { valence, arousal } = meanPoint(emotion.curve);
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = moodColour(valence, arousal);
  const use = element(
    "button",
    { type: "button", class: "link", "data-testid": "use-emotion", "aria-label": `Find music for ${emotion.label}` },
    "Find music",
  );
  use.addEventListener("click", () => onUse(emotion));
  const details = scoreDetails(result, emotion.label);
  return element(
    "li",
    { class: "emotion", "data-testid": "emotion-result", "data-emotion-id": emotion.id },
    element(
      "div",
      { class: "emotion__head" },
      swatch,
      element("h3", { class: "result__title", "data-testid": "emotion-label", title: emotion.label }, emotion.label),
      emotion.mood === emotion.label
        ? null
        : element("span", { class: "emotion__mood", "data-testid": "emotion-mood" }, emotion.mood),
    ),
    chart.node,
    similarityMeter(result.similarity),
    element("div", { class: "result__more" }, use, details.toggle),
    details.panel,
  );
}

export function renderEmotions(list, results, timeline, onUse) {
  list.replaceChildren(...results.map((result) => card(result, timeline, onUse)));
}
