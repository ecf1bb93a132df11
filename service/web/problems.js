// Turns a failure into a message a listener can act on, shown next to the control that caused it.

import { element } from "./dom.js";

const ADVICE_BY_CODE = {
  unreachable:
    "Check that the service is running and that you are connected, then try again. " +
    "A very large file may also have been refused in the middle of its upload.",
};

const ADVICE_BY_STATUS = {
  401: "This service asks for an API key, which this page does not send. Use the HTTP interface with your key.",
  403: "Ask whoever runs the service to allow it.",
  404: "It may have been removed from the catalogue. Search again.",
  413: "Choose a shorter or smaller recording, or cut out the part that matters.",
  415: "Choose an audio file: MP3, WAV, FLAC, Ogg or M4A.",
  422: "Change the input and try again.",
  429: "Wait a moment, then try again.",
  503: "The service is not ready yet. Wait a moment, then try again.",
};

function adviceFor(error) {
  if (ADVICE_BY_CODE[error.code]) return ADVICE_BY_CODE[error.code];
  if (ADVICE_BY_STATUS[error.status]) return ADVICE_BY_STATUS[error.status];
  return "Try again. If it keeps failing, tell whoever runs the service.";
}

// `headline` says what could not be done, where the service's own title is the name of a status; `advice`
// lets a caller say something more fitting than the status alone can.
export function showProblem(box, error, { headline, advice = {} } = {}) {
  const reference = [error.code, error.requestId && `request ${error.requestId}`].filter(Boolean);
  const lines = [
    element("strong", { class: "problem__title" }, (error.status && headline) || error.title || "Something went wrong"),
    error.detail && element("p", { class: "problem__detail" }, error.detail),
    element("p", { class: "problem__advice" }, advice[error.status] ?? adviceFor(error)),
    reference.length > 0 && element("p", { class: "problem__code" }, reference.join(" · ")),
  ];
  box.replaceChildren(...lines.filter(Boolean));
  box.hidden = false;
}

export function clearProblem(box) {
  box.hidden = true;
  box.replaceChildren();
}
