// Draws the plots over time with uPlot, in the page and in the report.
"use strict";

const ROW_PX = 78; // height of one plot over time, without its axis
const AXIS_PX = 46;
const LEAST_SECONDS = 10; // of the time axis, whose numbers have no fractions
const SIDE_PX = 52; // for the numbers of the vertical axis
const BARS_PX = { wide: 110, narrow: 56 }; // for the histogram at the right
const VERDICTS = ["good", "doubtful", "bad"];

// --- colours and times ------------------------------------------------------------------------

// Colours of the style sheet, as they are in the light or the dark scheme.
function colours() {
  const probe = document.body.appendChild(document.createElement("i"));
  const found = {};
  for (const name of ["ink", "quiet", "line", "accent", "doubt", "warn"]) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return { ...found, good: found.accent, doubtful: found.doubt, bad: found.warn };
}

// A time in the zone of the service: "2026-11-30T14:05:09".
const local = (data, at) => new Date((at + data.offset_seconds) * 1000).toISOString().slice(0, 19);

function dayAndTime(data, at, seconds = true) {
  const text = new Date((at + data.offset_seconds) * 1000).toUTCString(); // Mon, 30 Nov 2026 14:05:09 GMT
  return `${text.slice(5, 11)} ${text.slice(17, seconds ? 25 : 22)}`;
}

function axisTimes(data) {
  return (u, splits, _axis, _space, step) => splits.map((at, n) => {
    const text = dayAndTime(data, at, step < 60);
    const isNewDay = n === 0 || text.slice(0, 6) !== dayAndTime(data, splits[n - 1]).slice(0, 6);
    return isNewDay ? `${text.slice(7)}\n${text.slice(0, 6)}` : text.slice(7);
  });
}

// --- plots over time --------------------------------------------------------------------------

// Returns an object with show(data), which draws the answer of timeline.json. `open` is called with
// the number of a micrograph that is clicked, `brushed` with the ends of a span that is selected.
function timePlots(box, { open = null, brushed = null } = {}) {
  const state = { box, open, brushed, data: null, plots: [], begun: null };
  const again = () => state.data && draw(state);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  keepWidth(box, () => state.plots);
  return {
    show(data) { state.data = data; draw(state); },
    isBusy: () => box.matches(":hover") || state.plots.some((plot) => plot.select.width > 0),
  };
}

function draw(state) {
  for (const plot of state.plots) plot.destroy();
  state.box.replaceChildren();
  state.plots = [];
  const { data } = state;
  if (!data.micrographs) return;
  const look = colours();
  const at = data.at.map((seconds) => data.from + seconds);
  for (const figure of data.figures) addPlot(state, look, at, figure);
  addPlot(state, look, at, null);
}

// Adds the plot of a figure; without a figure, that of the verdicts, which has the time axis.
function addPlot(state, look, at, figure) {
  const { data, box } = state;
  const [place, output] = captioned(box, figure ? figure.title : "Verdict");
  const values = figure ? figure.middle.map((value) => within(value, figure.axis)) : at.map(() => 0.5);
  const isFirst = state.plots.length === 0;
  const axis = figure ? figure.axis : [0, 1];
  const bars = place.clientWidth < 600 ? BARS_PX.narrow : BARS_PX.wide;
  const span = data.until - data.from;
  const margin = Math.max(1, 0.01 * span, (LEAST_SECONDS - span) / 2);
  const plot = new uPlot({
    width: place.clientWidth,
    height: figure ? ROW_PX : ROW_PX / 2 + AXIS_PX,
    padding: [8, bars, figure ? 4 : 0, 0],
    legend: { show: false },
    cursor: {
      sync: { key: "time" },
      drag: { x: true, y: false, setScale: false, dist: 5 },
      y: false,
      points: { show: Boolean(figure), size: 9, fill: look.ink },
    },
    // Ticks at whole minutes and midnights in the zone of the service.
    tzDate: (seconds) => {
      const date = new Date(seconds * 1000);
      return new Date(date.getTime() + (data.offset_seconds + 60 * date.getTimezoneOffset()) * 1000);
    },
    scales: {
      x: { range: () => [data.from - margin, data.until + margin] },
      y: { range: () => axis },
    },
    axes: [
      figure
        ? { ...lines(look), size: 0, values: (_, splits) => splits.map(() => "") }
        : { ...lines(look), size: AXIS_PX, space: 70, values: axisTimes(data) },
      figure ? { ...lines(look), size: SIDE_PX, space: 24 } : { show: true, size: SIDE_PX, splits: () => [], grid: { show: false }, ticks: { show: false } },
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [(u) => figure ? drawFigure(u, look, data, figure, isFirst) : drawVerdicts(u, look, data)],
      setCursor: [(u) => { output.textContent = u.cursor.idx == null ? "" : reading(data, figure, u.cursor.idx); }],
      setSelect: [(u) => selected(state, u)],
    },
  }, [at, values], place);
  state.plots.push(plot);
  listenTo(state, plot);
}

function captioned(box, title) {
  const caption = box.appendChild(document.createElement("p"));
  caption.className = "caption";
  caption.append(title, document.createElement("output"));
  caption.lastChild.setAttribute("aria-live", "off"); // it changes with each movement of the mouse
  const place = box.appendChild(document.createElement("div"));
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", `${title} over time; the numbers are in the table`);
  return [place, caption.lastChild];
}

const lines = (look) => ({
  stroke: look.quiet,
  font: "11px system-ui, sans-serif",
  grid: { stroke: look.line, width: 1 },
  ticks: { show: false },
  gap: 6,
});

const within = (value, [bottom, top]) => value == null ? value : Math.min(Math.max(value, bottom), top);

// What is under the cursor, in words.
function reading(data, figure, n) {
  if (!figure) {
    const time = `${dayAndTime(data, data.from + data.at[n])} ${data.zone}`;
    const found = VERDICTS.filter((name) => data.verdicts[name][n])
      .map((name) => data.id ? name : `${data.verdicts[name][n]} ${name}`);
    return `${time}: ${found.join(", ") || "no verdict"}`;
  }
  const text = (value) => value.toFixed(figure.digits);
  if (figure.middle[n] == null) return "–";
  const source = figure.fitted && data.id && figure.fitted[n] ? ", fitted here" : "";
  if (data.id) return text(figure.middle[n]) + source;
  return `median ${text(figure.middle[n])}, ${text(figure.low[n])} to ${text(figure.high[n])}, ${data.count[n]} micrographs`;
}

function listenTo(state, plot) {
  plot.over.addEventListener("mousedown", (event) => { state.begun = { plot, x: event.clientX }; });
  plot.over.addEventListener("click", (event) => {
    const n = plot.cursor.idx;
    if (n == null || Math.abs(event.clientX - (state.begun?.x ?? event.clientX)) > 4) return;
    const { data } = state;
    if (data.id) state.open?.(data.id[n]);
    else state.brushed?.(...spanOf(data, n));
  });
}

// The span of time that a place stands for: half way to its neighbours.
function spanOf(data, n) {
  const at = (i) => data.from + data.at[i];
  const from = n ? (at(n - 1) + at(n)) / 2 : data.from;
  return [from, n + 1 < data.at.length ? (at(n) + at(n + 1)) / 2 : data.until];
}

function selected(state, plot) {
  if (plot !== state.begun?.plot || plot.select.width < 5) return; // the others follow
  const { left, width } = plot.select;
  state.brushed?.(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
}

function drawFigure(u, look, data, figure, hasNames) {
  const { ctx, bbox } = u;
  const px = devicePixelRatio;
  const y = (value) => u.valToPos(within(value, figure.axis), "y", true);
  ctx.save();
  drawModels(u, look, data, hasNames);
  drawHistogram(u, look, figure);
  for (const [name, value] of Object.entries(figure.limits ?? {})) {
    if (value < figure.axis[0] || value > figure.axis[1]) continue;
    dashes(ctx, look[name], [4, 3], bbox.left, y(value), u.ctx.canvas.width, y(value));
  }
  figure.middle.forEach((value, n) => {
    if (value == null) return;
    const x = u.valToPos(u.data[0][n], "x", true);
    ctx.strokeStyle = ctx.fillStyle = data.id ? look[VERDICTS.find((name) => data.verdicts[name][n])] ?? look.quiet : look.accent;
    if (figure.low && figure.low[n] !== figure.high[n]) {
      ctx.globalAlpha = 0.35;
      ctx.lineWidth = 2 * px;
      line(ctx, x, y(figure.low[n]), x, y(figure.high[n]));
      ctx.globalAlpha = 1;
    }
    ctx.beginPath();
    ctx.arc(x, y(value), (data.at.length > 150 ? 1.8 : 2.6) * px, 0, 2 * Math.PI);
    ctx.lineWidth = px;
    if (figure.fitted && data.id && figure.fitted[n]) ctx.stroke(); // hollow: livepick's own fit
    else ctx.fill();
  });
  ctx.restore();
}

function drawHistogram(u, look, figure) {
  const { ctx, bbox } = u;
  const left = bbox.left + bbox.width + 6 * devicePixelRatio;
  const most = Math.max(...figure.bars);
  const height = bbox.height / figure.bars.length;
  ctx.fillStyle = look.quiet;
  ctx.globalAlpha = 0.55;
  figure.bars.forEach((count, n) => {
    const length = (ctx.canvas.width - left - 2) * count / most;
    ctx.fillRect(left, bbox.top + bbox.height - (n + 1) * height, length, Math.max(1, height - 1));
  });
  ctx.globalAlpha = 1;
}

function drawModels(u, look, data, hasNames) {
  const { ctx, bbox } = u;
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.fillStyle = look.quiet;
  for (const [at, version] of data.models) {
    const x = u.valToPos(data.from + at, "x", true);
    dashes(ctx, look.quiet, [2, 3], x, bbox.top, x, bbox.top + bbox.height);
    if (!hasNames) continue;
    const isRight = x > bbox.left + 0.8 * bbox.width;
    ctx.textAlign = isRight ? "right" : "left";
    ctx.fillText(`model ${version}`, x + (isRight ? -4 : 4) * devicePixelRatio, bbox.top + bbox.height - 4 * devicePixelRatio);
  }
}

// Columns of the verdicts, one on top of the other.
function drawVerdicts(u, look, data) {
  const { ctx, bbox } = u;
  const places = u.data[0].map((at) => u.valToPos(at, "x", true));
  const gaps = places.slice(1).map((x, n) => x - places[n]).sort((a, b) => a - b);
  const width = Math.max(2, Math.min(12 * devicePixelRatio, 0.9 * (gaps[gaps.length >> 1] ?? 12)));
  ctx.save();
  places.forEach((x, n) => {
    let bottom = bbox.top + bbox.height;
    const total = VERDICTS.reduce((sum, name) => sum + data.verdicts[name][n], 0);
    for (const name of VERDICTS) {
      const height = bbox.height * data.verdicts[name][n] / Math.max(1, total);
      ctx.fillStyle = look[name];
      ctx.fillRect(x - width / 2, bottom - height, width, height);
      bottom -= height;
    }
  });
  ctx.restore();
}

function line(ctx, fromX, fromY, toX, toY) {
  ctx.beginPath();
  ctx.moveTo(fromX, fromY);
  ctx.lineTo(toX, toY);
  ctx.stroke();
}

function dashes(ctx, colour, pattern, ...ends) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash(pattern.map((length) => length * devicePixelRatio));
  line(ctx, ...ends);
  ctx.setLineDash([]);
}

// Plots follow the width of their box, also on paper.
function keepWidth(box, plots) {
  const fit = (width) => {
    for (const plot of plots()) {
      const wanted = width ?? plot.root.parentElement.clientWidth;
      if (wanted && wanted !== plot.width) plot.setSize({ width: wanted, height: plot.height });
    }
  };
  new ResizeObserver(() => fit()).observe(box);
  addEventListener("beforeprint", () => fit(680));
  addEventListener("afterprint", () => fit());
}

// The report has the data inside.
const embedded = document.getElementById("timeline-data");
if (embedded) timePlots(document.getElementById("plots")).show(JSON.parse(embedded.textContent));
