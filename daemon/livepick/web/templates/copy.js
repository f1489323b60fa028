// Buttons that copy a text, also on plain http, where browsers offer no clipboard.
"use strict";

document.documentElement.classList.add("scripted"); // the style sheet shows the buttons

async function copyText(text, button) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not allowed here: the older way may be */ }
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.className = "copied-text";
  button.after(field); // inside the same dialog, else it cannot be selected
  field.select();
  let done = false;
  try { done = document.execCommand("copy"); } catch { done = false; }
  field.remove();
  button.focus();
  return done;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button[data-copy]");
  if (!button) return;
  const told = button.nextElementSibling;
  const done = await copyText(button.dataset.copy, button);
  if (!told?.matches(".copy-told")) return;
  told.textContent = "";
  // A change that a screen reader announces, also for the second time.
  setTimeout(() => { told.textContent = done ? "copied" : "could not be copied; select it and press Ctrl+C"; }, 30);
  setTimeout(() => { told.textContent = ""; }, 4000);
});
