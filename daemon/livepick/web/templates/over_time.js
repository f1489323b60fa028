// Fetches the data of the plots over time, and lists the micrographs of a span of time.
"use strict";

const FETCH_SECONDS = 10; // the plots are fetched again at most this often

function showOverTime() {
  const form = $("#span");
  const plots = timePlots($("#plots"), { open: openFull, brushed });
  const { from, until } = form.elements;
  let data = null;
  let zoomed = false;
  let isChosen = false; // else the fields follow the session
  let waiting = null;
  let fetchedAt = 0;

  const query = () => new URLSearchParams(new FormData(form));
  const ask = (path) => fetch(path).catch(() => new Response("livepick does not answer.", { status: 503 }));

  async function fetchPlots() {
    fetchedAt = Date.now();
    const answer = await ask(`timeline.json?${zoomed ? query() : ""}`);
    if (!answer.ok) return;
    data = await answer.json();
    plots.show(data);
    const isFitted = data.figures.some((figure) => figure.fitted?.some(Boolean));
    $("#hollow").hidden = !(isFitted && data.id);
    $("#how").hidden = !data.micrographs;
    if (data.micrographs && !isChosen) setSpan(data.from, data.until);
    if (zoomed && !data.micrographs) $("#between").textContent = "No micrograph with picks in this span.";
  }

  function setSpan(begin, end) {
    from.value = local(data, Math.floor(begin));
    until.value = local(data, Math.ceil(end));
  }

  async function list() {
    const answer = await ask(`between?part&${query()}`);
    if (answer.ok) $("#between").innerHTML = await answer.text();
    else $("#between").textContent = await answer.text();
  }

  function brushed(begin, end) {
    isChosen = true;
    setSpan(begin, end);
    list();
  }

  form.addEventListener("input", () => { isChosen = true; });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list();
  });
  $("#zoom").addEventListener("click", () => { zoomed = true; fetchPlots(); });
  $("#whole").addEventListener("click", () => {
    zoomed = isChosen = false;
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
