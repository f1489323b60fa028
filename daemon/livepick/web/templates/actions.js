// Takes the threshold of the slider over into the form that proposes it.
"use strict";

document.addEventListener("input", (event) => {
  if (event.target.id !== "threshold") return;
  const wanted = event.target.closest("article")?.querySelector(".apply [name=value]");
  if (wanted) wanted.value = event.target.value;
});
