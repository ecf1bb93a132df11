// The one player of the page: whatever starts stops what played before.

import { formatTime, setIcon } from "./dom.js";

const byId = (id) => document.getElementById(id);

export class Player extends EventTarget {
  constructor() {
    super();
    this.audio = byId("player-audio");
    this.bar = byId("player");
    this.button = byId("player-toggle");
    this.seekBar = byId("player-seek");
    this.source = null;
    this.button.addEventListener("click", () => this.toggle());
    this.seekBar.addEventListener("input", () => this.seek(Number(this.seekBar.value)));
    for (const type of ["play", "pause", "ended"]) {
      this.audio.addEventListener(type, () => this.onState());
    }
    this.audio.addEventListener("loadedmetadata", () => this.onLoaded());
    this.audio.addEventListener("timeupdate", () => this.onTime());
    this.audio.addEventListener("seeked", () => this.onTime());
    this.audio.addEventListener("error", () => this.onError());
  }

  get playing() { return !this.audio.paused; }
  get time() { return this.audio.currentTime; }
  isPlaying(key) { return this.playing && this.source?.key === key; }

  // source: { key, url, title, artist, start, window }; `key` tells the play buttons which one is theirs.
  play(source) {
    if (this.source?.key === source.key) {
      this.start();
      return;
    }
    this.source = source;
    byId("player-title").textContent = source.title;
    byId("player-artist").textContent = source.artist ?? "";
    byId("player-problem").hidden = true;
    this.bar.hidden = false;
    document.body.classList.add("has-player");
    // The fragment lets the browser fetch from the window on; onLoaded makes sure of it.
    this.audio.src = source.start > 0 ? `${source.url}#t=${source.start}` : source.url;
    this.start();
  }

  start() {
    // A refusal to play is reported by the error event; an interruption by the next source is none.
    this.audio.play().catch(() => this.onState());
  }

  toggle(source) {
    if (source && this.source?.key !== source.key) this.play(source);
    else if (this.playing) this.audio.pause();
    else this.start();
  }

  seek(time) {
    if (this.source) this.audio.currentTime = time;
  }

  stop(key) {
    if (this.source?.key !== key) return;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
    this.source = null;
    this.bar.hidden = true;
    document.body.classList.remove("has-player");
    this.onState();
  }

  onLoaded() {
    const { start = 0, window } = this.source;
    if (Math.abs(this.audio.currentTime - start) > 0.5) this.audio.currentTime = start;
    this.seekBar.max = this.audio.duration;
    const share = (time) => `${(100 * time) / this.audio.duration}%`;
    this.bar.style.setProperty("--window-start", window ? share(window.start_s) : "0%");
    this.bar.style.setProperty("--window-end", window ? share(window.end_s) : "0%");
    this.onTime();
  }

  onState() {
    setIcon(this.button, this.playing ? "pause" : "play", this.playing ? "Pause" : "Play");
    this.dispatchEvent(new CustomEvent("state"));
    if (this.playing) this.follow();
  }

  // timeupdate comes four times a second; a playhead that glides needs every frame.
  follow() {
    cancelAnimationFrame(this.frame);
    const step = () => {
      this.onTime();
      if (this.playing) this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  onTime() {
    if (!this.source) return;
    this.seekBar.value = this.time;
    const duration = this.audio.duration || 0;
    this.bar.style.setProperty("--played", `${duration ? (100 * this.time) / duration : 0}%`);
    const text = `${formatTime(this.time)} / ${formatTime(duration)}`;
    const clock = byId("player-time");
    if (clock.textContent !== text) {
      clock.textContent = text;
      this.seekBar.setAttribute("aria-valuetext", text);
    }
    this.dispatchEvent(new CustomEvent("time"));
  }

  onError() {
    if (!this.source) return;
    const box = byId("player-problem");
    box.textContent = "This recording cannot be played: it may be gone, or in a format your browser does not know.";
    box.hidden = false;
    this.onState();
  }
}
