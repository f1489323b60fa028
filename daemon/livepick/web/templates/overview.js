// Keeps the overview up to date. Without this script, the page can still be read.
"use strict";

const EVERY_MS = 3000;
const sessions = document.getElementById("sessions");
const connection = document.getElementById("connection");
let shown = null;

// A link keeps the focus although its row is replaced.
function replace(html) {
  const active = document.activeElement;
  const href = sessions.contains(active) ? active.getAttribute("href") : null;
  sessions.innerHTML = html;
  if (href) sessions.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus();
}

async function update() {
  try {
    const answer = await fetch("sessions", { signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const html = await answer.text();
    if (html !== shown) replace(html);
    shown = html;
    connection.className = "live";
    connection.textContent = "live";
  } catch {
    connection.className = "lost";
    connection.textContent = "The service does not answer; these are the last figures.";
  }
  updateTimes();
}

updateTimes();
setInterval(() => document.hidden || update(), EVERY_MS);
document.addEventListener("visibilitychange", () => document.hidden || update());
update();
