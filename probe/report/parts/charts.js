// Draws the embedded figures in the page's colours: each when it comes into view, and all of them before printing.
"use strict";
const CONFIG = { displayModeBar: false, displaylogo: false, doubleClick: "reset" };
const THREE_D = ["surface", "scatter3d", "mesh3d", "isosurface", "volume"];
const PAPER = { ink: "#1b1f24", ground: "#ffffff", width: 650, picture: 300 };
const embedded = (id) => document.getElementById(`${id}-figure`).textContent;
const shared = JSON.parse(embedded("shared"));
const figures = new Map();
const boxes = [...document.querySelectorAll(".chart")];

function figureOf(box) {
  if (!figures.has(box)) {
    const figure = JSON.parse(embedded(box.id), (key, value) => (value?.$ === undefined ? value : shared[value.$]));
    figure.labels = (figure.layout.annotations || []).map((note) => note.text);
    figure.names = figure.data.map((trace) => trace.text);
    figure.height = figure.layout.height;
    figure.room = figure.layout.margin.b;
    figure.menus = figure.layout.updatemenus || [];
    delete figure.layout.updatemenus;
    figure.sliders = figure.layout.sliders || [];
    delete figure.layout.sliders;
    if (figure.menus.length) removeMenuSpace(figure);
    if (figure.layout.scene && innerWidth < 620) moveCameraBack(figure.layout.scene.camera.eye);
    figures.set(box, figure);
    addViewButtons(box, figure);
  }
  return figures.get(box);
}

// Removes the space above the plot that was reserved for plotly's own buttons.
function removeMenuSpace({ layout, labels, menus }) {
  const hasText = labels.length || layout.title?.text;
  layout.margin.t = hasText ? menus[0].pad.b : 16;
  if (layout.title?.text) layout.title.pad = { t: 14 };
}

// Without this, a phone would cut off the names of the axes.
function moveCameraBack(eye) {
  for (const axis of ["x", "y", "z"]) eye[axis] *= 1.35;
}

// Plotly is embedded as text, since it takes longer to parse than the rest of the page takes to load and be painted.
function loadPlotly() {
  const text = document.getElementById("plotly");
  if (!text) return;
  const script = document.createElement("script");
  script.textContent = text.textContent;
  text.replaceWith(script);
}

let webGL;
function hasWebGL() {
  if (webGL === undefined) {
    const context = document.createElement("canvas").getContext("webgl");
    context?.getExtension("WEBGL_lose_context")?.loseContext();
    webGL = Boolean(context);
  }
  return webGL;
}

let openedForPrint = null; // the <details> that were opened for printing; null on the screen

function styleOf(box) {
  if (openedForPrint) return PAPER;
  const style = getComputedStyle(document.body);
  return { ink: style.color, ground: style.backgroundColor, width: box.clientWidth };
}

// Shortens a stage's label to its numeral, the annotation's name, where the stage is too narrow for it, and leaves out
// the names of bars that are too narrow for them.
function fitLabels(figure, width) {
  const { data, layout, labels } = figure;
  const [first, last] = layout.xaxis?.range || [0, 1];
  const perUnit = (width - layout.margin.l - layout.margin.r - (layout.meta?.beside || 0)) / (last - first);
  (layout.annotations || []).forEach((note, index) => {
    const shape = note.name && (layout.shapes || []).find((shape) => (shape.x0 + shape.x1) / 2 === note.x);
    if (shape) note.text = (shape.x1 - shape.x0) * perUnit < 84 ? `<b>${note.name}</b>` : labels[index];
  });
  for (const [index, names] of figure.names.entries()) {
    if (data[index].base) data[index].text = names.map((name, bar) => (data[index].x[bar] * perUnit < 8 * name.length ? "" : name));
  }
}

// Makes room for a legend below the chart that needs several lines; plotly sets entries of a long one in columns.
const pen = document.createElement("canvas").getContext("2d");
function fitLegend({ data, layout, room }, width, font) {
  if (layout.legend?.yref !== "container" || layout.showlegend === false) return 0;
  pen.font = `13px ${font}`;
  const entries = data.filter((trace) => trace.showlegend !== false && trace.name).map(({ name }) => name.split("<br>"));
  const widths = entries.map((parts) => 50 + Math.max(...parts.map((part) => pen.measureText(part).width)));
  const whole = widths.reduce((sum, one) => sum + one, 0), columns = Math.max(1, Math.floor(width / Math.max(...widths)));
  const lines = Math.max(...entries.map((parts) => parts.length)) * (whole <= width ? 1 : Math.ceil(widths.length / columns));
  layout.margin.b = room + 19 * Math.max(0, lines - 2);
  return layout.margin.b - room;
}

function showMessage(box, sentence) {
  box.textContent = sentence;
  box.className = "chart none";
  for (const attribute of ["role", "aria-label", "style"]) box.removeAttribute(attribute);
  for (const kind of ["png", "svg"]) document.querySelector(`[data-chart=${box.id}][data-kind=${kind}]`).hidden = true;
}

// The height of a picture follows from its width, up to a limit; charts keep their height.
function heightFor({ layout: { margin, meta }, height }, width) {
  const edges = margin.t + margin.b, across = width - margin.l - margin.r - (meta?.beside || 0);
  return meta?.aspect ? Math.min(height, edges + across * meta.aspect) : height;
}

function draw(box, style = styleOf(box)) {
  const figure = figureOf(box);
  if (figure.data.some((trace) => THREE_D.includes(trace.type)) && !hasWebGL()) {
    return showMessage(box, "This browser has no WebGL, so there is no view in 3-D here. The flat chart and its table show the same numbers.");
  }
  const { layout } = figure;
  const width = Math.min(style === PAPER && layout.images?.length ? PAPER.picture : style.width, layout.meta?.widest ?? Infinity);
  const family = getComputedStyle(document.body).fontFamily;
  fitLabels(figure, width);
  layout.width = width;
  layout.height = heightFor(figure, width) + fitLegend(figure, width, family);
  layout.font = { ...layout.font, color: style.ink, family, size: 13 };
  layout.hoverlabel = { ...layout.hoverlabel, bgcolor: style.ground, font: { color: style.ink } };
  // Scrolling the page by touch must not zoom the chart.
  layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : layout.dragmode || "zoom";
  box.style.setProperty("--height", `${layout.height}px`);
  box.dataset.drawn = "";
  loadPlotly();
  return Plotly.react(box, figure.data, layout, CONFIG);
}

function redraw() {
  for (const box of boxes) if ("drawn" in box.dataset && box.clientWidth) draw(box);
}

function prepareForPrint() {
  if (openedForPrint) return;
  openedForPrint = [...document.querySelectorAll("details:not([open])")];
  for (const details of openedForPrint) details.open = true;
  for (const box of boxes) draw(box);
}
function restoreScreen() {
  for (const details of openedForPrint || []) details.open = false;
  openedForPrint = null;
  redraw();
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let element = target; element; element = element.parentElement) if (element.tagName === "DETAILS") element.open = true;
  if (target) target.scrollIntoView();
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    draw(target);
  }
}, { rootMargin: "400px 0px" });
addEventListener("load", () => boxes.forEach((box) => near.observe(box)));

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
matchMedia("print").addEventListener("change", (event) => (event.matches ? prepareForPrint() : restoreScreen()));
addEventListener("beforeprint", prepareForPrint);
addEventListener("afterprint", restoreScreen);
addEventListener("hashchange", openTarget);
let width = innerWidth;
addEventListener("resize", () => requestAnimationFrame(() => {
  if (innerWidth !== width && !openedForPrint) redraw();
  width = innerWidth;
}));
openTarget();
