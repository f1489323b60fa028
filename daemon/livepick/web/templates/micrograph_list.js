// The list of micrographs: a selection that is kept from page to page, and the plots as a filter.
// Without this script, the filter and the downloads of a page's selection work all the same.
"use strict";

const MOST_QUERY = 3500; // characters of a selection that fit into an address

function micrographList() {
  const filter = document.getElementById("filter");
  const take = document.getElementById("take");
  filter.addEventListener("submit", () => withoutEmpty(filter));
  brushes(filter);
  if (take) selection(take);
}

// Leaves fields without a value out of the address.
function withoutEmpty(form) {
  const empty = [...form.elements].filter((field) => field.name && field.value === "");
  for (const field of empty) field.disabled = true;
  // They are there again when the reader comes back by the browser's button.
  setTimeout(() => { for (const field of empty) field.disabled = false; }, 0);
}

// --- plots that set the time of the filter ------------------------------------------------------

function brushes(filter) {
  const details = document.getElementById("brush");
  let plots = null;
  let data = null;
  details.hidden = false;
  details.addEventListener("toggle", async () => {
    if (!details.open || plots) return;
    const box = document.getElementById("list-plots");
    plots = timePlots(box, { open: openFull, brushed });
    const answer = await fetch("timeline.json").catch(() => null);
    if (!answer?.ok) { box.textContent = "The plots cannot be shown now."; return; }
    data = await answer.json();
    plots.show(data);
    if (!data.micrographs) box.textContent = "No micrograph has picks yet.";
  });
  function brushed(begin, end) {
    filter.elements.from.value = local(data, Math.floor(begin));
    filter.elements.until.value = local(data, Math.ceil(end));
    filter.requestSubmit();
  }
}

// --- selection ----------------------------------------------------------------------------------

function selection(take) {
  const boxes = [...document.querySelectorAll('input[name="micrograph"]')];
  const whole = document.getElementById("select-page");
  const none = document.getElementById("select-none");
  const fault = document.getElementById("take-fault");
  const key = `livepick selection ${location.pathname}`;
  const chosen = new Set(fromRanges(sessionStorage.getItem(key) ?? ""));
  let last = null; // the box that was changed last, for a range

  function show() {
    for (const box of boxes) box.checked = chosen.has(Number(box.value));
    const here = boxes.filter((box) => box.checked).length;
    whole.checked = here === boxes.length;
    whole.indeterminate = here > 0 && here < boxes.length;
    document.getElementById("selected-count").textContent = chosen.size.toLocaleString("en");
    none.disabled = chosen.size === 0;
  }

  function changed({ use = true } = {}) {
    sessionStorage.setItem(key, toRanges(chosen));
    fault.textContent = "";
    if (use) take.elements.which.value = chosen.size ? "selected" : "hits";
    show();
  }

  function set(box, on) {
    if (on) chosen.add(Number(box.value));
    else chosen.delete(Number(box.value));
  }

  // With Shift, by the mouse or the space bar, all boxes from the last one to this one.
  let isShift = false;
  for (const box of boxes) {
    box.addEventListener("click", (event) => { isShift = event.shiftKey; }, true);
    box.addEventListener("keydown", (event) => move(event, box));
    box.addEventListener("change", () => {
      const [from, to] = [boxes.indexOf(isShift && last ? last : box), boxes.indexOf(box)];
      for (const one of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) set(one, box.checked);
      isShift = false;
      last = box;
      changed();
    });
  }

  // Up and down go to the next box; with Shift they select on the way.
  function move(event, box) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step && boxes[boxes.indexOf(box) + step];
    if (!next) return;
    event.preventDefault();
    if (event.shiftKey) {
      set(box, true);
      set(next, true);
      last = next;
      changed();
    }
    next.focus();
  }

  whole.addEventListener("change", () => {
    for (const box of boxes) set(box, whole.checked);
    changed();
  });
  none.addEventListener("click", () => { chosen.clear(); changed(); });
  document.getElementById("select-hits").addEventListener("click", async () => {
    const query = new URLSearchParams(new FormData(take));
    for (const name of ["micrograph", "as", "which"]) query.delete(name);
    const answer = await fetch(`micrographs/numbers?${query}`).catch(() => null);
    if (!answer?.ok) { fault.textContent = "livepick does not answer. Try again."; return; }
    for (const number of fromRanges(await answer.text())) chosen.add(number);
    changed();
  });

  take.addEventListener("submit", (event) => {
    event.preventDefault();
    const query = new URLSearchParams(new FormData(take));
    query.delete("micrograph");
    if (query.get("which") === "selected") {
      if (!chosen.size) { fault.textContent = "No micrograph is selected."; return; }
      for (const name of [...query.keys()]) if (!["as", "which"].includes(name)) query.delete(name);
      query.set("ids", toRanges(chosen));
      if (query.get("ids").length > MOST_QUERY) {
        fault.textContent = "The selection has too many gaps for one download. Use the filter, or download it in parts.";
        return;
      }
    }
    location.href = `${take.getAttribute("action")}?${query.toString().replaceAll("%2C", ",")}`;
  });

  whole.hidden = false;
  document.getElementById("select-tools").hidden = false;
  changed({ use: chosen.size > 0 });
  window.addEventListener("pageshow", show); // the browser's button brings old boxes back
}

function toRanges(numbers) {
  const parts = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    const part = parts.at(-1);
    if (part && part[1] === number - 1) part[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([first, end]) => (first === end ? `${first}` : `${first}-${end}`)).join(",");
}

function fromRanges(text) {
  const numbers = [];
  for (const part of text.trim().split(",").filter(Boolean)) {
    const [first, end = first] = part.split("-").map(Number);
    for (let number = first; number <= end; number++) numbers.push(number);
  }
  return numbers;
}

micrographList();
