// "Find emotion in music": a recording → its emotion over time and the emotions nearest to it.

import { searchEmotions } from "./api.js";
import { Circumplex } from "./circumplex.js";
import { announce, formatSigned, formatTime, setIcon } from "./dom.js";
import { moodColour, moodGradient, pointAt } from "./emotion.js";
import { renderEmotions } from "./emotion-results.js";
import { clearProblem, showProblem } from "./problems.js";
import { Readout } from "./readout.js";
import { Timeline } from "./timeline.js";

const byId = (id) => document.getElementById(id);
const EMOTIONS = 8;
const PROBLEM = {
  headline: "This recording could not be used",
  advice: { 422: "Choose a recording that plays, in MP3, WAV, FLAC, Ogg or M4A, not longer than an hour." },
};

export class FindEmotion {
  // `onUse(curve, name)` takes a curve as a query for music; `onDrop` brings this half into view.
  constructor(player, { onUse, onDrop }) {
    this.player = player;
    this.onUse = onUse;
    this.onDrop = onDrop;
    this.plane = new Circumplex(byId("recording-plane"), {
      interactive: false, label: "Path of the recording on the emotion plane", testId: "recording-plane",
    });
    this.readout = new Readout(byId("recording-readout"), "recording-readout");
    this.timeline = new Timeline(byId("timeline"));
    this.listen();
  }

  listen() {
    byId("audio-file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      // Cleared, so that choosing the same file again counts as a change.
      event.target.value = "";
      if (file) this.analyse(file);
    });
    this.listenToDrops(document, byId("drop-zone"));
    byId("cancel-upload").addEventListener("click", () => this.running?.abort());
    byId("play-recording").addEventListener("click", () => this.player.toggle(this.source));
    byId("use-timeline").addEventListener("click", () => {
      const { arousal, valence, rate_hz: rate, scale } = this.answer.timeline;
      this.onUse({ arousal, valence, rate_hz: rate, scale }, `Emotion of ${this.source.title}`);
    });
    this.timeline.addEventListener("seek", ({ detail }) => this.onSeek(detail));
    this.player.addEventListener("state", () => this.showState());
    this.player.addEventListener("time", () => {
      if (this.source && this.player.source?.key === this.source.key) this.showTime(this.player.time);
    });
  }

  // The whole page takes a drop: nobody has to aim, and a miss does not make the browser leave the page.
  listenToDrops(page, zone) {
    page.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      zone.classList.add("drop-zone--over");
    });
    page.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) zone.classList.remove("drop-zone--over");
    });
    page.addEventListener("drop", (event) => {
      const [file] = event.dataTransfer.files;
      zone.classList.remove("drop-zone--over");
      if (!file) return;
      event.preventDefault();
      this.onDrop();
      this.analyse(file);
    });
  }

  setMoods(moods) {
    this.plane.setMoods(moods);
    this.readout.moods = moods;
  }

  async analyse(file) {
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    clearProblem(byId("emotion-problem"));
    this.showProgress(file, 0);
    try {
      const answer = await searchEmotions(file, {
        k: EMOTIONS, signal: running.signal, onProgress: (part) => this.showProgress(file, part),
      });
      this.showAnswer(file, answer);
    } catch (error) {
      if (error.name !== "AbortError") showProblem(byId("emotion-problem"), error, PROBLEM);
    } finally {
      if (this.running === running) this.hideProgress();
    }
  }

  showProgress(file, part) {
    byId("upload").hidden = false;
    byId("recording").setAttribute("aria-busy", "true");
    const bar = byId("upload-bar");
    const text = part < 1 ? `Sending ${file.name}: ${Math.round(part * 100)} %` : `Listening to ${file.name} …`;
    // Without a value the bar shows that work goes on for an unknown time.
    if (part < 1) bar.value = part;
    else bar.removeAttribute("value");
    byId("upload-text").textContent = text;
  }

  hideProgress() {
    byId("upload").hidden = true;
    byId("recording").setAttribute("aria-busy", "false");
  }

  showAnswer(file, answer) {
    this.answer = answer;
    if (this.source) {
      this.player.stop(this.source.key);
      URL.revokeObjectURL(this.source.url);
    }
    const url = URL.createObjectURL(file);
    this.source = { key: url, url, title: file.name, artist: "your file", start: 0, window: null };
    byId("recording").hidden = false;
    byId("emotion-empty").hidden = true;
    byId("drop-zone").classList.add("drop-zone--small");
    byId("drop-lead").textContent = "Drop another recording here";
    this.showEstimate(answer.estimate);
    this.showFacts(file, answer.audio);
    this.timeline.setCurve(answer.timeline, answer.audio.duration_s);
    byId("recording-ribbon").style.background = moodGradient(answer.timeline);
    this.plane.setCurve(answer.timeline);
    this.readout.setCurve(answer.timeline);
    this.showState();
    this.showTime(0);
    renderEmotions(byId("emotion-results"), answer.results, answer.timeline, (emotion) =>
      this.onUse(emotion.curve, `Emotion: ${emotion.label}`));
    byId("emotions-legend").hidden = answer.results.length === 0;
    byId("no-emotions").hidden = answer.results.length > 0;
    announce(`${file.name} feels ${answer.estimate.mood}. ${byId("estimate-values").textContent}`);
  }

  showEstimate({ mood, arousal, valence, arousal_sd: arousalSd, valence_sd: valenceSd }) {
    byId("estimate-mood").textContent = mood;
    byId("estimate").style.setProperty("--mark", moodColour(valence, arousal));
    byId("estimate-arousal").textContent = `${formatSigned(arousal)} ± ${arousalSd.toFixed(2)}`;
    byId("estimate-valence").textContent = `${formatSigned(valence)} ± ${valenceSd.toFixed(2)}`;
  }

  showFacts(file, { duration_s: duration, sample_rate_hz: rate, channels, format }) {
    const channelNames = { 1: "mono", 2: "stereo" };
    byId("recording-name").textContent = file.name;
    byId("recording-facts").textContent = [
      formatTime(duration), format, `${(rate / 1000).toLocaleString("en")} kHz`,
      channelNames[channels] ?? `${channels} channels`,
    ].join(" · ");
  }

  onSeek(time) {
    this.showTime(time);
    if (this.player.source?.key === this.source.key) this.player.seek(time);
    else this.source.start = time;
  }

  showState() {
    if (!this.source) return;
    const playing = this.player.isPlaying(this.source.key);
    setIcon(byId("play-recording"), playing ? "pause" : "play", `${playing ? "Pause" : "Play"} ${this.source.title}`);
  }

  showTime(time) {
    this.timeline.setTime(time);
    const now = pointAt(this.answer.timeline, time);
    this.plane.setNow(now);
    this.readout.show("now", now);
  }
}
