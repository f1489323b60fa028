// Fetches the data of the plots over time, and lists the micrographs of a span of time.
"use strict";

const FETCH_SECONDS = 10; // the plots are fetched again at most this often

function showOverTime() {
  const form = $("#span");
  const plots = timePlots($("#plots"), { open: openFull, brushed });
  const { from, until } = form.elements;
  let data = null;
  let zoomed = false;
  let waiting = null;
  let fetchedAt = 0;

  const query = () => new URLSearchParams(new FormData(form));

  async function fetchPlots() {
    fetchedAt = Date.now();
    const answer = await fetch(`timeline.json?${zoomed ? query() : ""}`);
    if (!answer.ok) return;
    data = await answer.json();
    plots.show(data);
    const isFitted = data.figures.some((figure) => figure.fitted?.some(Boolean));
    $("#hollow").hidden = !(isFitted && data.id);
    $("#how").hidden = !data.micrographs;
    if (data.micrographs && !from.value) setSpan(data.from, data.until);
  }

  function setSpan(begin, end) {
    from.value = local(data, Math.floor(begin));
    until.value = local(data, Math.ceil(end));
  }

  async function list() {
    const answer = await fetch(`between?part&${query()}`);
    $("#between").innerHTML = answer.ok ? await answer.text() : "";
  }

  function brushed(begin, end) {
    setSpan(begin, end);
    list();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list();
  });
  $("#zoom").addEventListener("click", () => { zoomed = true; fetchPlots(); });
  $("#whole").addEventListener("click", () => {
    zoomed = false;
    from.value = until.value = "";
    $("#between").replaceChildren();
    fetchPlots();
  });
  $("#zoom").hidden = $("#whole").hidden = false;
  fetchPlots();

  // New data are fetched later while somebody points at the plots or has selected a span.
  function changed() {
    clearTimeout(waiting);
    const soon = Math.max(0, fetchedAt + 1000 * FETCH_SECONDS - Date.now());
    waiting = setTimeout(() => plots.isBusy() ? changed() : fetchPlots(), zoomed || plots.isBusy() ? 1000 * FETCH_SECONDS : soon);
  }
  return { changed };
}
