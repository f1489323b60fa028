// Zoom, pan and contrast of a micrograph in the full view, by mouse, keyboard and touch.
// Picture and picks are laid out in the same box, so they stay in place at every scale.
"use strict";

const MOST_SCREEN = 8; // screen pixels per pixel of the micrograph
const STEP = 1.5;
const PAN = 0.15; // of the width of the view, for an arrow key
const look = { contrast: 100, brightness: 100 }; // applies to the next micrograph too

function zoomFull(article) {
  const box = article.querySelector(".drawn");
  const [img, svg] = [box.querySelector("img"), box.querySelector("svg")];
  const tools = article.querySelector(".zoom-tools");
  const [widthPx, heightPx] = [Number(img.getAttribute("width")), Number(img.getAttribute("height"))];
  const view = { scale: 1, x: 0, y: 0 }; // times the fitting size; left and top in pixels of the view
  const pointers = new Map();

  box.classList.add("zoomable");
  box.style.aspectRatio = `${widthPx} / ${heightPx}`;
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Picture: plus and minus zoom, 0 fits it, 1 shows it 1:1, and the arrow keys move it when it is larger than its frame");
  tools.hidden = false;

  const whole = () => widthPx / devicePixelRatio / box.clientWidth;
  const most = () => Math.max(MOST_SCREEN * whole(), 4);

  function show() {
    const [w, h] = [box.clientWidth, box.clientHeight];
    view.scale = Math.min(most(), Math.max(1, view.scale));
    view.x = Math.min(0, Math.max(w - w * view.scale, view.x));
    view.y = Math.min(0, Math.max(h - h * view.scale, view.y));
    for (const part of [img, svg]) {
      part.style.left = `${view.x}px`;
      part.style.top = `${view.y}px`;
      part.style.width = `${w * view.scale}px`;
      part.style.height = `${h * view.scale}px`;
    }
    box.classList.toggle("zoomed", view.scale > 1);
    const shown = (w * view.scale * devicePixelRatio) / widthPx;
    tools.querySelector(".scale").textContent = `${(100 * shown).toPrecision(shown < 1 ? 2 : 3)} %`;
  }

  // The point of the picture at (x, y) of the view stays where it is.
  function zoom(factor, x = box.clientWidth / 2, y = box.clientHeight / 2) {
    const scale = Math.min(most(), Math.max(1, view.scale * factor));
    const by = scale / view.scale;
    Object.assign(view, { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by });
    show();
  }

  function move(x, y) {
    view.x += x;
    view.y += y;
    show();
  }

  const act = {
    in: () => zoom(STEP),
    out: () => zoom(1 / STEP),
    fit: () => zoom(0),
    whole: () => zoom(whole() / view.scale),
    reset: () => { Object.assign(look, { contrast: 100, brightness: 100 }); adjust(); zoom(0); },
  };

  function adjust() {
    for (const slider of tools.querySelectorAll("[data-look]")) slider.value = look[slider.dataset.look];
    const plain = look.contrast === 100 && look.brightness === 100;
    img.style.filter = plain ? "" : `brightness(${look.brightness}%) contrast(${look.contrast}%)`;
  }

  for (const button of tools.querySelectorAll("[data-zoom]")) button.addEventListener("click", act[button.dataset.zoom]);
  for (const slider of tools.querySelectorAll("[data-look]")) {
    slider.addEventListener("input", () => { look[slider.dataset.look] = Number(slider.value); adjust(); });
  }

  // --- mouse and touch --------------------------------------------------------------------------

  const place = (event) => {
    const frame = box.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };
  const middle = () => {
    const at = [...pointers.values()];
    const x = at.reduce((sum, p) => sum + p.x, 0) / at.length;
    const y = at.reduce((sum, p) => sum + p.y, 0) / at.length;
    return { x, y, span: at.length > 1 ? Math.hypot(at[0].x - at[1].x, at[0].y - at[1].y) : 0 };
  };

  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = place(event);
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 * event.deltaY : event.deltaY;
    zoom(Math.exp(-Math.max(-200, Math.min(200, pixels)) / 300), x, y);
  }, { passive: false });

  box.addEventListener("dblclick", (event) => {
    const { x, y } = place(event);
    if (view.scale > 1) act.fit();
    else zoom(Math.max(2, whole()), x, y);
  });

  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pointers.set(event.pointerId, place(event));
    box.setPointerCapture(event.pointerId);
    box.classList.add("dragging");
  });
  box.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    const before = middle();
    pointers.set(event.pointerId, place(event));
    const after = middle();
    if (before.span && after.span) zoom(after.span / before.span, before.x, before.y);
    if (view.scale > 1) move(after.x - before.x, after.y - before.y);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    box.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      if (!pointers.size) box.classList.remove("dragging");
    });
  }
  img.draggable = false;

  // --- keyboard ---------------------------------------------------------------------------------

  article.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    const key = { "+": "in", "=": "in", "-": "out", 0: "fit", 1: "whole" }[event.key];
    if (key) { event.preventDefault(); act[key](); }
  });
  box.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || view.scale <= 1 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // not on to another micrograph
    move(...way.map((each) => each * PAN * box.clientWidth));
  });

  const resized = new ResizeObserver(() => (box.isConnected ? show() : resized.disconnect()));
  resized.observe(box);
  img.addEventListener("load", show);
  adjust();
  show();
}
