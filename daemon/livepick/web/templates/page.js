// Keeps the page up to date, opens micrographs on top of it, and previews a threshold.
// Without this script, everything can still be read. plots.js, curves.js and over_time.js
// draw and refresh the plots; times.js has the times.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const SVG = "http://www.w3.org/2000/svg";
const ROOT = document.documentElement.dataset.root ?? ""; // the way from this page to the top
const MOST_BELOW = 1500; // more candidates are noise

// --- the page, part by part -------------------------------------------------------------------

let wanted = {};
let fetching = false;

async function update(digests) {
  wanted = digests;
  if (fetching) return; // the running update continues with the latest digests
  fetching = true;
  try {
    for (const name of Object.keys(wanted)) {
      const part = document.getElementById(name);
      if (!part || part.dataset.digest === wanted[name]) continue;
      const digest = wanted[name];
      const answer = await fetch(`sections/${name}`);
      if (!answer.ok) continue;
      replace(part, await answer.text());
      part.dataset.digest = digest;
      if (name === "trends") overTime?.changed();
    }
  } finally {
    fetching = false;
  }
  updateTimes();
}

function replace(part, html) {
  const focused = part.contains(document.activeElement) && document.activeElement.getAttribute("href");
  const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
  part.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) $(`[href="${CSS.escape(focused)}"]`, part)?.focus();
  watchPictures(part);
  learningCurves(part);
}

function listen() {
  const connection = $("#connection");
  const events = new EventSource("events");
  let lastHeard = Date.now() / 1000;
  events.onmessage = (event) => {
    lastHeard = Date.now() / 1000;
    connection.className = "live";
    connection.textContent = "live";
    update(JSON.parse(event.data)).catch(() => {}); // the next event tries again
  };
  events.onopen = () => {
    connection.className = "live";
    connection.textContent = "live";
  };
  events.onerror = () => {
    connection.className = "lost";
    connection.innerHTML = `no connection; last update <time data-at="${lastHeard}">at ${new Date(lastHeard * 1000).toLocaleTimeString([], { timeZoneName: "short" })}</time>`;
    updateTimes();
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
  };
}

// A picture that is missing is requested again, because the workers may be busy. If it can never be
// drawn, for example because its file is gone, the reason is shown in its place.
function watchPictures(within) {
  for (const img of within.querySelectorAll(".drawn img")) {
    let tries = 0;
    img.addEventListener("error", async () => {
      const why = await whyNot(img.src).catch(() => "");
      if (why) { showReason(img, why); return; }
      img.parentElement.dataset.wait = tries < 4 ? "the workers are busy; trying again" : "the workers are busy";
      if (++tries < 5) setTimeout(() => { img.src = `${img.src.split("&")[0]}&try=${tries}`; }, 3000);
    });
  }
}

async function whyNot(picture) {
  const answer = await fetch(picture.replace(/\.png\?.*$/, ".txt"));
  return answer.ok ? answer.text() : "";
}

function showReason(img, why) {
  const words = document.createElement("p");
  words.className = "gone";
  words.textContent = `No picture: ${why}.`;
  img.after(words);
  $(".mask", img.parentElement)?.remove();
}

// --- search -----------------------------------------------------------------------------------

function search() {
  const input = $("#search input");
  const found = $("#found");
  let asked = 0;
  input.addEventListener("input", async () => {
    const mine = ++asked;
    const name = input.value.trim();
    if (!name) { found.replaceChildren(); return; }
    const answer = await fetch(`search?part&name=${encodeURIComponent(name)}`);
    if (mine === asked && answer.ok) found.innerHTML = await answer.text();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    input.value = "";
    asked++;
    found.replaceChildren();
    input.blur();
  });
}

// --- one micrograph ---------------------------------------------------------------------------

const choices = { picks: true, below: false, mask: true }; // apply to the next micrograph too
const full = $("#full");
let opened = 0;

// The query is that of the list which the micrograph is in: its links stay in this list.
async function openFull(id, query = "") {
  const mine = ++opened;
  const answer = await fetch(`micrographs/${id}?part&${query}`).catch(() => null);
  if (mine !== opened) return;
  if (!answer?.ok) { location.assign(`micrographs/${id}?${query}`); return; } // the browser says why
  full.innerHTML = await answer.text();
  if (!full.open) full.showModal();
  full.scrollTop = 0;
  full.setAttribute("tabindex", "-1");
  full.focus();
  history.replaceState(null, "", `#micrograph-${id}`);
  await prepareFull();
}

async function prepareFull() {
  const article = $("article.full", full);
  if (!article) return;
  watchPictures(full);
  zoomFull(article);
  updateTimes();
  await offerThresholds(article);
}

async function offerThresholds(article) {
  const answer = await fetch(`${ROOT}micrographs/${article.dataset.id}/candidates`).catch(() => null);
  if (!article.isConnected || answer?.status === 404) return;
  if (!answer?.ok) { setTimeout(() => offerThresholds(article), 3000); return; } // busy, or not connected
  const facts = await answer.json();
  const slider = $("#threshold", article);
  $(".picks", article).remove();
  drawCandidates(article, facts);
  for (const what of Object.keys(choices)) {
    const box = $(`#show-${what}`, article);
    const show = () => article.classList.toggle(`no-${what}`, !box.checked);
    if (!box.disabled) box.checked = choices[what];
    box.addEventListener("change", () => { choices[what] = box.checked; show(); });
    show();
  }
  slider.addEventListener("input", () => tryThreshold(article, facts, Number(slider.value)));
  tryThreshold(article, facts, facts.threshold);
  $(".tools", article).hidden = false;
}

function drawCandidates(article, facts) {
  const group = $(".candidates", article);
  for (const [x, y, score] of facts.candidates) {
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("cx", x);
    circle.setAttribute("cy", y);
    circle.setAttribute("r", facts.ring_px);
    circle.append(document.createElementNS(SVG, "title"));
    circle.firstChild.textContent = `score ${score.toFixed(3)} at ${x}, ${y}`;
    group.append(circle);
  }
}

function tryThreshold(article, facts, threshold) {
  const circles = $(".candidates", article).children;
  const best = facts.candidates.length ? facts.candidates[0][2] : 1;
  let count = 0;
  facts.candidates.forEach(([, , score], number) => {
    const circle = circles[number];
    if (score >= threshold) {
      count++;
      const share = (score - facts.threshold) / Math.max(best - facts.threshold, 1e-6);
      circle.setAttribute("class", `s${Math.max(0, Math.min(3, Math.floor(4 * share)))}`);
    } else {
      circle.setAttribute("class", "below");
    }
    circle.toggleAttribute("hidden", number >= count + MOST_BELOW);
  });
  const present = facts.candidates.filter(([, , score]) => score >= facts.threshold).length;
  $("#count", article).textContent = count.toLocaleString("en");
  $("#at", article).textContent = threshold.toFixed(2);
  $("#setting", article).textContent = threshold.toFixed(2);
  $("#effect", article).textContent = effect(facts, threshold, count, present);
}

function effect(facts, threshold, count, present) {
  const { micrographs, picks } = facts.newest;
  const steps = picks.length - 1;
  const at = (t) => picks[Math.max(0, Math.min(steps, Math.round(t * steps)))];
  const change = count - present;
  const here = change === 0 ? `${count} picks here at the current threshold`
    : `${count} picks here, ${Math.abs(change)} ${change > 0 ? "more" : "fewer"} than now`;
  if (!micrographs) return `${here}.`;
  const [then, now] = [threshold, facts.threshold].map((t) => Math.round(at(t)));
  const newest = `In the ${micrographs} newest micrographs of this model`;
  return change === 0 ? `${here}. ${newest}: ${now} picks on average.`
    : `${here}. ${newest}: about ${then} picks on average instead of ${now}.`;
}

// Firefox fails what is being fetched when another page is called: that is no reason to go elsewhere.
addEventListener("beforeunload", () => { opened++; });

function closeFull() {
  opened++;
  full.close();
}

// --- keys and clicks --------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || full?.tagName !== "DIALOG") return;
  const link = event.target.closest("[data-full], [data-close]");
  if (!link) return;
  event.preventDefault();
  if (link.dataset.full) openFull(link.dataset.full, new URL(link.href).search.slice(1));
  else closeFull();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input[type=search], input[type=range]");
  const inFull = full && $("article.full", full) && (full.open || full.tagName === "MAIN");
  if (inFull && !typing) {
    const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const link = rel && $(`[rel=${rel}]`, full);
    if (link) { event.preventDefault(); link.click(); }
    if (event.key === "Escape" && full.tagName === "MAIN") $("[data-close]", full).click();
  } else if (event.key === "/" && !typing && $("#search input")) {
    event.preventDefault();
    $("#search input").focus();
  }
});

if (full?.tagName === "DIALOG") {
  full.addEventListener("close", () => {
    const id = $("article.full", full)?.dataset.id;
    full.replaceChildren();
    history.replaceState(null, "", location.pathname + location.search);
    const link = document.querySelector(`[data-full="${id}"]`);
    if (link) link.focus();
    else document.querySelector("[data-full]")?.focus({ preventScroll: true }); // opened by a plot
  });
  const linked = location.hash.match(/^#micrograph-(\d+)$/);
  if (linked) openFull(linked[1], location.search.slice(1));
} else if (full) {
  prepareFull();
}
const overTime = $("#plots") ? showOverTime() : null;
learningCurves(document);
if ($("#search")) search();
if ($("#connection")) listen();
watchPictures(document);
updateTimes();
setInterval(updateTimes, 1000);
