// "Find music by emotion": the drawn curve, a mood or a point of the plane → ranked tracks.

import { fetchTrackCurve, searchSimilar, searchTracks } from "./api.js";
import { Circumplex } from "./circumplex.js";
import { CurveEditor } from "./curve-editor.js";
import { announce, element, formatPercent, formatSigned } from "./dom.js";
import {
  constantCurve, curveDuration, describeCurve, moodColour, moodGradient, nearestMood, stretchCurve,
} from "./emotion.js";
import { clearProblem, showProblem } from "./problems.js";
import { Readout } from "./readout.js";
import { TrackResults } from "./results.js";

const byId = (id) => document.getElementById(id);
const LIVE_DELAY_MS = 350;
const START_DURATION_S = 30;

// Something to look at and to draw over: calm that warms and swells.
function exampleCurve() {
  const part = Array.from({ length: START_DURATION_S * 2 }, (_, i) => i / (START_DURATION_S * 2 - 1));
  return {
    arousal: part.map((t) => -0.55 + 1.15 * Math.sin(Math.PI * t * 0.62) ** 2),
    valence: part.map((t) => 0.3 + 0.35 * Math.sin(Math.PI * (t * 1.1 - 0.25))),
    rate_hz: 2,
    scale: "signed",
  };
}

export class FindMusic {
  constructor(player) {
    this.moods = [];
    this.weight = null;
    this.editor = new CurveEditor(byId("editor"), exampleCurve());
    this.plane = new Circumplex(byId("query-plane"), {
      interactive: true, label: "Emotion plane of the query", testId: "query-plane",
    });
    this.readout = new Readout(byId("query-readout"), "query-readout");
    this.results = new TrackResults(byId("track-results"), player);
    this.query = { kind: "curve" };
    this.listen();
    this.showQuery();
  }

  listen() {
    this.editor.addEventListener("input", () => this.onDrawn(false));
    this.editor.addEventListener("change", () => this.onDrawn(true));
    this.editor.addEventListener("active", ({ detail }) => { byId(`line-${detail}`).checked = true; });
    for (const line of ["arousal", "valence"]) {
      byId(`line-${line}`).addEventListener("change", () => this.editor.setActive(line));
    }
    for (const button of document.querySelectorAll("[data-shape]")) {
      button.addEventListener("click", () => this.editor.applyShape(button.dataset.shape));
    }
    byId("undo").addEventListener("click", () => this.editor.undo());
    byId("duration").addEventListener("input", () => this.onDuration());
    byId("duration").addEventListener("change", () => this.searchSoon());
    this.plane.addEventListener("pick", ({ detail }) => this.onPoint(detail));
    this.plane.addEventListener("mood", ({ detail }) => this.onMood(detail));
    byId("find-tracks").addEventListener("click", async () => {
      await this.search();
      byId("found").scrollIntoView({ block: "nearest" });
    });
    byId("result-count").addEventListener("change", () => this.searchAgain());
    byId("weight").addEventListener("input", () => this.setWeight(Number(byId("weight").value)));
    byId("weight").addEventListener("change", () => this.searchAgain());
    byId("weight-default").addEventListener("click", () => {
      this.setWeight(null);
      this.searchAgain();
    });
    this.listenToAdvanced(byId("advanced"));
    this.results.addEventListener("similar", ({ detail }) => this.searchLike(detail));
    this.results.addEventListener("now", ({ detail }) => this.showNow(detail));
    byId("back-to-query").addEventListener("click", () => this.search());
  }

  // It lies over the moods while it is open: Escape or a press anywhere else puts it away.
  listenToAdvanced(advanced) {
    document.addEventListener("pointerdown", ({ target }) => {
      if (!advanced.contains(target)) advanced.open = false;
    });
    advanced.addEventListener("keydown", ({ key }) => {
      if (key !== "Escape") return;
      advanced.open = false;
      advanced.querySelector("summary").focus();
    });
  }

  setMoods(moods) {
    this.moods = moods;
    this.plane.setMoods(moods);
    this.readout.moods = moods;
    byId("moods").replaceChildren(...moods.map((mood) => {
      const dot = element("span", { class: "swatch", "aria-hidden": "true" });
      dot.style.background = moodColour(mood.valence, mood.arousal);
      const chip = element(
        "button",
        {
          type: "button", class: "chip", "aria-pressed": "false",
          "data-testid": `mood-${mood.word.replaceAll(" ", "-")}`,
        },
        dot, mood.word,
      );
      chip.dataset.word = mood.word;
      chip.addEventListener("click", () => this.onMood(mood.word));
      return chip;
    }));
    this.showQuery();
  }

  onDrawn(final) {
    this.query = { kind: "curve" };
    byId("draw-hint").hidden = true;
    this.showQuery();
    if (final) this.searchSoon();
  }

  onDuration() {
    this.editor.setDuration(Number(byId("duration").value));
    this.showQuery();
  }

  onPoint({ point, final }) {
    // One step of undo for a whole drag over the plane.
    if (this.query.kind !== "point") this.editor.remember();
    this.query = { kind: "point", point };
    this.editor.setCurve(constantCurve(point, this.editor.duration));
    this.showQuery();
    if (!final) return;
    announce(
      `Valence ${formatSigned(point.valence)}, arousal ${formatSigned(point.arousal)}, ` +
        `near ${nearestMood(this.moods, point)}`,
    );
    this.searchSoon();
  }

  onMood(word) {
    const mood = this.moods.find((known) => known.word === word);
    this.query = { kind: "mood", word };
    this.editor.remember();
    this.editor.setCurve(constantCurve(mood, this.editor.duration));
    this.showQuery();
    this.searchSoon();
  }

  // A curve from elsewhere (a recording's timeline, a found emotion) becomes the query.
  useCurve(curve, name) {
    this.query = { kind: "curve", name };
    this.editor.remember();
    this.editor.setCurve(stretchCurve(curve, curveDuration(curve)));
    this.showQuery();
    this.search();
  }

  showQuery() {
    const { curve } = this.editor;
    const { kind, word, point, name } = this.query;
    this.plane.setCurve(curve);
    this.readout.setCurve(curve);
    this.plane.highlightMood(word);
    byId("query-ribbon").style.background = moodGradient(curve);
    for (const chip of byId("moods").children) {
      chip.setAttribute("aria-pressed", String(chip.dataset.word === word));
    }
    byId("duration").value = curveDuration(curve);
    byId("duration-value").textContent = `${Math.round(curveDuration(curve))} s`;
    byId("query-name").textContent = {
      mood: () => `Mood: ${word}`,
      point: () => `Point: valence ${formatSigned(point.valence)}, arousal ${formatSigned(point.arousal)}`,
      curve: () => name ?? (this.moods.length ? describeCurve(this.moods, curve) : "Drawn curve"),
    }[kind]();
  }

  showNow(point) {
    this.plane.setNow(point);
    this.readout.show("now", point);
  }

  setWeight(weight) {
    this.weight = weight;
    byId("weight-value").textContent = weight === null ? "the model’s own" : weight.toFixed(2);
    byId("weight-default").disabled = weight === null;
  }

  body() {
    const { kind, word, point } = this.query;
    const options = { k: Number(byId("result-count").value) };
    if (this.weight !== null) options.weight = this.weight;
    if (kind === "mood") return { mood: word, ...options };
    if (kind === "point") return { point: { ...point, scale: "signed" }, ...options };
    return { curve: this.editor.curve, ...options };
  }

  // A stroke or a key press is often followed by the next one.
  searchSoon() {
    clearTimeout(this.timer);
    if (byId("live").checked) this.timer = setTimeout(() => this.search(), LIVE_DELAY_MS);
  }

  searchAgain() {
    if (this.last) this.last();
  }

  search() {
    this.last = () => this.search();
    const heading = this.query.kind === "mood" ? `Music that feels ${this.query.word}` : "Music for this emotion";
    byId("back-to-query").hidden = true;
    return this.run(heading, this.editor.curve, (signal) => searchTracks(this.body(), signal));
  }

  searchLike(track) {
    this.last = () => this.searchLike(track);
    byId("back-to-query").hidden = false;
    const query = { track_id: track.id, k: Number(byId("result-count").value) };
    byId("found-heading").scrollIntoView({ block: "nearest" });
    return this.run(`Music like ${track.title}`, fetchTrackCurve(track.id), (signal) => searchSimilar(query, signal));
  }

  async run(heading, asked, call) {
    clearTimeout(this.timer);
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    byId("found").setAttribute("aria-busy", "true");
    clearProblem(byId("music-problem"));
    try {
      const answer = await call(running.signal);
      if (running.signal.aborted) return;
      this.showAnswer(heading, asked, answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      showProblem(byId("music-problem"), error, { headline: "The search could not be made" });
    } finally {
      if (this.running === running) byId("found").setAttribute("aria-busy", "false");
    }
  }

  showAnswer(heading, asked, { results, took_ms: took, weight }) {
    byId("found-heading").textContent = heading;
    byId("found-heading").hidden = false;
    byId("music-empty").hidden = results.length > 0;
    byId("found-legend").hidden = results.length === 0;
    byId("found-facts").textContent =
      results.length === 0 ? "" : `${results.length} tracks · ${took < 10 ? took.toFixed(1) : Math.round(took)} ms`;
    if (results.length === 0) {
      byId("music-empty").textContent =
        "The catalogue has no track for this. Add recordings with “circumplex ingest FOLDER”, then search again.";
    }
    if (this.weight === null) byId("weight").value = weight;
    this.results.render(results, asked);
    this.showNow(null);
    const [first] = results;
    announce(
      first
        ? `${results.length} tracks. Closest: ${first.track.title}, ${formatPercent(first.similarity)}.`
        : "No tracks found.",
    );
  }
}
