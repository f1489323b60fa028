// Writes the time since each `<time data-at>`, for a short time since.
"use strict";

function ago(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  return null;
}

function updateTimes() {
  for (const time of document.querySelectorAll("time[data-at]")) {
    time.dataset.clock ??= time.textContent;
    time.textContent = ago(Date.now() / 1000 - Number(time.dataset.at)) ?? time.dataset.clock;
  }
}
