// Arithmetic on emotions: colours by angle on the circumplex, and curves cut and resampled.

// Hue every 45° from pleasant (0°) counter-clockwise: gold, orange, red (activated), rose, violet
// (unpleasant), indigo, blue (deactivated), green, and back to gold.
const HUES = [80, 52, 25, -5, -50, -92, -130, -190, -280];
const FULL_CHROMA = 0.16;

export const RATE_HZ = 2;

export const clamp = (value, low = -1, high = 1) => Math.min(high, Math.max(low, value));

function hueOf(valence, arousal) {
  const turn = ((Math.atan2(arousal, valence) / (Math.PI / 4)) + 8) % 8;
  const sector = Math.floor(turn);
  return HUES[sector] + (HUES[sector + 1] - HUES[sector]) * (turn - sector);
}

// Lightness comes from the theme, so the same emotion reads on paper and on ink.
export function moodColour(valence, arousal) {
  const chroma = FULL_CHROMA * clamp(0.25 + Math.hypot(valence, arousal), 0, 1);
  const hue = (hueOf(valence, arousal) + 720) % 360;
  return `oklch(var(--mood-lightness) ${chroma.toFixed(3)} ${hue.toFixed(1)})`;
}

export const curveDuration = (curve) => curve.arousal.length / curve.rate_hz;

export function pointAt(curve, time) {
  const last = curve.arousal.length - 1;
  const position = clamp(time * curve.rate_hz, 0, last);
  const index = Math.floor(position);
  const next = Math.min(index + 1, last);
  const part = position - index;
  const between = (values) => values[index] + (values[next] - values[index]) * part;
  return { arousal: between(curve.arousal), valence: between(curve.valence) };
}

function fromPoints(points, rate = RATE_HZ) {
  return {
    arousal: points.map((point) => point.arousal),
    valence: points.map((point) => point.valence),
    rate_hz: rate,
    scale: "signed",
  };
}

export function constantCurve({ arousal, valence }, duration) {
  const count = Math.round(duration * RATE_HZ);
  return fromPoints(Array.from({ length: count }, () => ({ arousal, valence })));
}

// The part of a curve between two times; past its end the last value holds, as the service holds it.
export function sliceCurve(curve, start, end) {
  const count = Math.max(2, Math.round((end - start) * RATE_HZ));
  return fromPoints(Array.from({ length: count }, (_, i) => pointAt(curve, start + i / RATE_HZ)));
}

// The same shape over another duration.
export function stretchCurve(curve, duration) {
  const count = Math.max(2, Math.round(duration * RATE_HZ));
  const step = (curve.arousal.length - 1) / (count - 1) / curve.rate_hz;
  return fromPoints(Array.from({ length: count }, (_, i) => pointAt(curve, i * step)));
}

// At most `limit` points spread over the curve: an hour has 7,200, a screen shows a few hundred.
export function thinCurve(curve, limit) {
  const length = curve.arousal.length;
  const count = Math.min(limit, length);
  const last = (length - 1) / curve.rate_hz;
  return Array.from({ length: count }, (_, i) => {
    const time = count > 1 ? (last * i) / (count - 1) : 0;
    return { time, ...pointAt(curve, time) };
  });
}

export function meanPoint(curve) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return { arousal: mean(curve.arousal), valence: mean(curve.valence) };
}

export function isConstant(curve) {
  const still = (values) => values.every((value) => Math.abs(value - values[0]) < 1e-9);
  return still(curve.arousal) && still(curve.valence);
}

// The mood word whose direction is closest; near the centre no word fits.
export function nearestMood(moods, { arousal, valence }) {
  const radius = Math.hypot(arousal, valence);
  if (radius < 0.15 || moods.length === 0) return "neutral";
  const closeness = (mood) => mood.valence * valence + mood.arousal * arousal;
  return moods.reduce((best, mood) => (closeness(mood) > closeness(best) ? mood : best)).word;
}

// What a curve does, in words.
export function describeCurve(moods, curve) {
  const from = nearestMood(moods, pointAt(curve, 0));
  const to = nearestMood(moods, pointAt(curve, curveDuration(curve)));
  return from === to ? `From ${from} and back` : `From ${from} to ${to}`;
}

// A CSS gradient of the curve's mood colours over time.
export function moodGradient(curve) {
  const points = thinCurve(curve, 40);
  if (points.length < 2) return moodColour(points[0].valence, points[0].arousal);
  const stops = points.map(({ valence, arousal }) => moodColour(valence, arousal));
  return `linear-gradient(to right, ${stops.join(", ")})`;
}
