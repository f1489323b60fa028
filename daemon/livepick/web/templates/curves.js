// Draws the learning curves of a training with uPlot; plots.js has colours and lines.
"use strict";

function learningCurves(within) {
  for (const figure of within.querySelectorAll("[data-curves]")) {
    const data = JSON.parse(figure.dataset.curves);
    const place = figure.appendChild(document.createElement("div"));
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", figure.textContent.replace(/\s+/g, " ").trim());
    const look = colours();
    const plot = new uPlot({
      width: place.clientWidth,
      height: 160,
      padding: [8, 12, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false } },
      axes: [
        { ...lines(look), size: 30, space: 50, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500], values: (_, splits) => splits.map((epoch, n) => n ? epoch : `epoch ${epoch}`) },
        { ...lines(look), size: SIDE_PX, space: 30 },
      ],
      series: [{}, ...[look.quiet, look.accent].map((stroke) => ({ stroke, width: 1.8, points: { show: false } }))],
      hooks: { draw: [(u) => drawStarts(u, look, data.starts)] },
    }, [data.epochs, ...data.values], place);
    keepWidth(place, () => place.isConnected ? [plot] : []);
  }
}

function drawStarts(u, look, starts) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.fillStyle = look.quiet;
  for (const [epoch, name] of starts.length > 1 ? starts : []) {
    const x = u.valToPos(Math.max(1, epoch - 0.5), "x", true);
    dashes(ctx, look.quiet, [2, 3], x, bbox.top, x, bbox.top + bbox.height);
    ctx.fillText(name, x + 4 * devicePixelRatio, bbox.top + 10 * devicePixelRatio);
  }
  ctx.restore();
}
