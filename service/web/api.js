// The service's HTTP interface as functions. Every failure becomes one ApiError, whatever went wrong.

export class ApiError extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", requestId = "" }) {
    super(detail || title);
    this.name = "ApiError";
    Object.assign(this, { status, code, title, detail, requestId });
  }
}

function problemOf(status, text) {
  try {
    const body = JSON.parse(text);
    const detail = typeof body.detail === "string" ? body.detail : "";
    return new ApiError({
      status, code: body.code, title: body.title, detail, requestId: body.request_id,
    });
  } catch {
    return new ApiError({ status, title: `The service answered ${status}` });
  }
}

const unreachable = () =>
  new ApiError({ code: "unreachable", title: "The service cannot be reached" });

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
  if (!response.ok) throw problemOf(response.status, await response.text());
  return response.json();
}

function postJson(path, body, signal) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

const trackPath = (id) => `/v1/tracks/${encodeURIComponent(id)}`;

export const fetchMoods = () => request("/v1/moods");
export const fetchModels = () => request("/v1/models");
export const fetchCatalogue = () => request("/v1/tracks?limit=1");
export const searchTracks = (query, signal) => postJson("/v1/search/tracks", query, signal);
export const searchSimilar = (query, signal) => postJson("/v1/search/similar", query, signal);

const trackCurves = new Map();

// A track's curve does not change while the page is open, and each is drawn in several places.
export function fetchTrackCurve(id) {
  if (!trackCurves.has(id)) {
    const pending = request(`${trackPath(id)}/curve`);
    pending.catch(() => trackCurves.delete(id));
    trackCurves.set(id, pending);
  }
  return trackCurves.get(id);
}

// XMLHttpRequest, because fetch cannot report how much of an upload has left.
export function searchEmotions(file, { k, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("audio", file);
    form.append("k", String(k));
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/v1/search/emotions");
    xhr.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    xhr.upload.addEventListener("load", () => onProgress(1));
    xhr.addEventListener("load", () => {
      if (xhr.status < 200 || xhr.status >= 300) return reject(problemOf(xhr.status, xhr.responseText));
      try {
        return resolve(JSON.parse(xhr.responseText));
      } catch {
        return reject(new ApiError({ status: xhr.status, title: "The answer could not be read" }));
      }
    });
    xhr.addEventListener("error", () => reject(unreachable()));
    xhr.addEventListener("abort", () => reject(new DOMException("Cancelled", "AbortError")));
    signal.addEventListener("abort", () => xhr.abort());
    xhr.send(form);
  });
}
