// The examples of an analysis: a map over each image, the words of its patches, and the words of the layer.
"use strict";
const HEAT = [[20, 20, 20, 0.62], [230, 159, 0, 0.55], [255, 240, 60, 0.7]]; // from none over some to most
const SIGNED = [[94, 60, 153, 0.75], [245, 245, 245, 0.25], [230, 97, 1, 0.75]]; // below, at and above 0

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const short = (value) => String(Number(value.toPrecision(3)));

// A point of a scale of three colours, 0 to 1, as a CSS colour.
function colorAt(scale, place) {
  const [from, to] = place < 0.5 ? [scale[0], scale[1]] : [scale[1], scale[2]], part = place < 0.5 ? 2 * place : 2 * place - 1;
  const [red, green, blue, alpha] = from.map((channel, index) => channel + (to[index] - channel) * part);
  return `rgba(${Math.round(red)},${Math.round(green)},${Math.round(blue)},${alpha})`;
}

class Look {
  constructor(card) {
    const find = (selector) => card.querySelector(selector);
    const data = JSON.parse(document.getElementById(`${card.id}-data`).textContent);
    Object.assign(this, data, { card, select: find("select"), slider: find("input[type=range]"), shared: find("input[type=checkbox]") });
    this.views = [...card.querySelectorAll(".panel")];
    this.status = find(".patch");
    this.at = null; // the panel and the index of the patch that is pointed at
    if (!this.slider) return;
    this.chooseMap();
    this.slider.value = Math.floor(Number(this.slider.max) / 2);
    this.select?.addEventListener("change", () => { this.chooseMap(); this.draw(); });
    for (const input of [this.slider, this.shared]) input?.addEventListener("input", () => this.draw());
    this.views.forEach((view, panel) => this.listen(view, panel));
  }

  get map() { return this.select && this.select.value !== "" ? this.maps[Number(this.select.value)] : null; }
  get layer() { return Number(this.slider.value); }

  chooseMap() {
    const { steps, axis } = this.map ?? this.rest;
    this.slider.max = steps - 1;
    this.axis = axis;
    this.card.querySelector(".axis").textContent = `${axis[0].toUpperCase()}${axis.slice(1)}`;
  }

  // The values of all tokens at the chosen layer, and the ends of the colour scale.
  values() {
    const { low, high, rows } = this.map;
    const [from, to] = [low[this.layer], high[this.layer]];
    const values = Array.from(bytes(rows[this.layer]), (code) => from + (code / 255) ** 2 * (to - from));
    return { values, ends: this.shared.checked ? [Math.min(...low), Math.max(...high)] : [from, to] };
  }

  draw() {
    if (!this.slider) return;
    this.slider.parentElement.querySelector("output").textContent = this.layer;
    this.slider.setAttribute("aria-valuetext", `${this.axis} ${this.layer}`);
    this.shown = this.map && this.values();
    this.views.forEach((view, panel) => this.paint(view.querySelector("canvas"), this.panels[panel]));
    this.showScale();
    this.markRows();
    this.showHeads();
    this.tell();
  }

  place(value) {
    const [low, high] = this.shown.ends;
    if (low < 0 && high > 0) return 0.5 + value / (2 * Math.max(-low, high));
    return high > low ? Math.sqrt(Math.max(0, value - low) / (high - low)) : 0;
  }

  get scale() { return this.shown.ends[0] < 0 && this.shown.ends[1] > 0 ? SIGNED : HEAT; }

  paint(canvas, { tokens, boxes }) {
    const { width, height } = canvas.getBoundingClientRect(), density = devicePixelRatio || 1;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    if (!this.map) return;
    const pen = canvas.getContext("2d");
    tokens.forEach((token, index) => {
      // Edges on whole pixels, so that neighbours leave no seam.
      const [left, top, right, bottom] = boxes[index].map((edge, side) => Math.round(edge * (side % 2 ? canvas.height : canvas.width)));
      pen.fillStyle = colorAt(this.scale, this.place(this.shown.values[token]));
      pen.fillRect(left, top, right - left, bottom - top);
    });
  }

  showScale() {
    const legend = this.card.querySelector(".scale");
    if (!legend) return;
    legend.hidden = !this.map;
    if (!this.map) return;
    const [low, high] = this.shown.ends, end = Math.max(-low, high), [first, bar, last] = legend.children;
    const signed = this.scale === SIGNED;
    first.textContent = short(signed ? -end : low);
    last.textContent = `${short(signed ? end : high)} ${this.map.unit}`.trim();
    bar.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((part) => colorAt(this.scale, part)).join(",")}) #9aa4ae`;
  }

  // Marks the chosen layer in the tables of words, and brings its row into their view.
  markRows() {
    for (const strip of this.card.querySelectorAll(".strip:not(.heads)")) {
      const rows = [...strip.querySelectorAll("tbody tr")], chosen = rows[Math.min(this.layer, rows.length - 1)];
      for (const row of rows) row.toggleAttribute("aria-current", row === chosen);
      if (chosen) strip.scrollTop = chosen.offsetTop - strip.clientHeight / 2;
    }
  }

  showHeads() {
    this.card.querySelectorAll(".heads").forEach((strip, index) => {
      const rows = this.heads[index], layer = Math.min(this.layer, rows.length - 1), table = strip.querySelector("table");
      table.tHead.rows[0].cells[1].textContent = `likeliest words, layer ${layer}`;
      table.tHead.rows[0].cells[1].colSpan = Math.max(...rows[layer].map((words) => words.length));
      table.tBodies[0].replaceChildren(...rows[layer].map(wordRow));
    });
  }

  wordAt({ rows }, token) {
    const numbers = new Uint16Array(bytes(rows[Math.min(this.layer, rows.length - 1)]).buffer);
    return this.vocabulary[numbers[token]] ?? "…";
  }

  // Says what is at the patch that is pointed at.
  tell() {
    this.views.forEach((view) => (view.querySelector("i").hidden = true));
    if (!this.at) return;
    const [panel, index] = this.at, token = this.panels[panel].tokens[index];
    const [left, top, right, bottom] = this.panels[panel].boxes[index], mark = this.views[panel].querySelector("i");
    Object.assign(mark.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
    mark.hidden = false;
    const value = this.map ? `: ${short(this.shown.values[token])} ${this.map.unit}`.trimEnd() : "";
    const words = this.words.map((found) => `; ${this.words.length > 1 ? found.title : "word"} “${this.wordAt(found, token)}”`);
    this.status.textContent = `Patch ${token}, ${this.axis} ${this.layer}${value}${words.join("")}`;
  }

  listen(view, panel) {
    const { boxes } = this.panels[panel];
    const point = (index) => { this.at = index < 0 ? null : [panel, index]; this.tell(); };
    view.addEventListener("pointermove", (event) => {
      const frame = view.getBoundingClientRect();
      const x = (event.clientX - frame.left) / frame.width, y = (event.clientY - frame.top) / frame.height;
      point(boxes.findIndex(([left, top, right, bottom]) => left <= x && x < right && top <= y && y < bottom));
    });
    view.addEventListener("focus", () => { if (this.at?.[0] !== panel) point(boxes.length ? 0 : -1); });
    view.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step || this.at?.[0] !== panel) return;
      event.preventDefault();
      point(neighbour(boxes, this.at[1], step));
    });
  }
}

// A row of words of one head, shaded by their probability.
function wordRow(words, head) {
  const row = document.createElement("tr"), heading = document.createElement("th");
  Object.assign(heading, { scope: "row", className: "number", textContent: head });
  row.append(heading);
  for (const [word, share] of words) {
    const cell = row.insertCell(), text = document.createElement("bdi");
    text.textContent = word;
    cell.append(text);
    cell.title = `${word}: ${share}`;
    cell.style.setProperty("--share", share);
  }
  return row;
}

// The nearest patch in a direction, or the same one at the edge.
function neighbour(boxes, from, [dx, dy]) {
  const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2], [x, y] = middle(boxes[from]);
  let best = from, least = Infinity;
  boxes.forEach((box, index) => {
    const [ahead, aside] = [(middle(box)[0] - x) * dx + (middle(box)[1] - y) * dy, Math.abs((middle(box)[0] - x) * dy) + Math.abs((middle(box)[1] - y) * dx)];
    const distance = ahead + 4 * aside;
    if (ahead > 1e-4 && distance < least) [best, least] = [index, distance];
  });
  return best;
}

const looks = new Map();
const lookOf = (card) => looks.get(card) ?? looks.set(card, new Look(card)).get(card);
const seen = [...document.querySelectorAll(".seen")];
const nearCards = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    nearCards.unobserve(target);
    lookOf(target).draw();
  }
}, { rootMargin: "400px 0px" });
addEventListener("load", () => seen.forEach((card) => nearCards.observe(card)));
addEventListener("beforeprint", () => seen.forEach((card) => lookOf(card).draw()));
let cardWidth = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== cardWidth) for (const look of looks.values()) look.draw();
  cardWidth = innerWidth;
});
