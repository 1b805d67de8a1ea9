// VisiPruner's stages under the rules that the reader sets; the same as probe/analyzers/visipruner_stages.py.
"use strict";

// The number of layers stands for never.
function filterLayer(cosines, { first, filter_below }) {
  const layer = cosines.findIndex((cosine, index) => index >= first && cosine < filter_below);
  return layer < 0 ? cosines.length : layer;
}

function exitLayer(cosines, filtered, { exit_from, votes }) {
  const idle = [...cosines.keys()].filter((layer) => layer > filtered && cosines[layer] >= exit_from);
  return idle[votes - 1] ?? cosines.length;
}

const lowerMedian = (layers) => layers.toSorted((one, other) => one - other)[(layers.length - 1) >> 1];

function split(samples, rules) {
  const filters = samples.map((cosines) => filterLayer(cosines, rules));
  const exits = samples.map((cosines, index) => exitLayer(cosines, filters[index], rules));
  return { filters, exits, middle: lowerMedian(filters), deep: Math.min(lowerMedian(exits) + 1, samples[0].length) };
}

function countsOf(layers, of) {
  const counts = new Array(of + 1).fill(0);
  for (const layer of layers) counts[layer] += 1;
  return counts;
}

// A slider's steps are the numbers of two digits, 0.99, 0.98, ..., 0.1, 0.099, ..., as distances from 1.
function thresholdAt(position) {
  const digits = 99 - (position % 90), power = Math.floor(position / 90) + 2;
  return Number((1 - digits / 10 ** power).toFixed(6));
}

function addTwoStories(panel) {
  const { cosines, halfv } = JSON.parse(document.getElementById("stories-data").textContent);
  const box = document.getElementById("stories"), says = document.getElementById("stories-says");
  const inputs = [...panel.querySelectorAll("input")], layers = cosines[0].length;

  function rulesNow() {
    return Object.fromEntries(inputs.map((input) => {
      const lowest = Number(input.min), given = Math.round(Number(input.value));
      const value = Math.min(Math.max(given || 0, lowest), Number(input.max));
      return [input.name, input.type === "range" ? thresholdAt(value) : value];
    }));
  }

  function update(andDraw) {
    const rules = rulesNow(), found = split(cosines, rules);
    for (const input of inputs.filter(({ type }) => type === "range")) {
      input.parentElement.querySelector("output").textContent = rules[input.name];
      input.setAttribute("aria-valuetext", rules[input.name]);
    }
    says.textContent = sentence(rules, found, layers, halfv);
    if (!andDraw) return;
    showCounts(found, layers);
    change(figureOf(box), rules, found, layers);
    if ("drawn" in box.dataset) draw(box);
  }

  panel.addEventListener("input", () => update(true));
  panel.querySelector("button").addEventListener("click", () => {
    for (const input of inputs) input.value = input.defaultValue;
    update(true);
  });
  update(false);
}

function change({ data }, rules, found, layers) {
  const trace = (meta) => data.find((one) => one.meta === meta);
  const starts = [0, found.middle, found.deep, layers];
  Object.assign(trace("VisiPruner"), {
    base: starts.slice(0, 3).map((start) => start - 0.5),
    x: [0, 1, 2].map((part) => starts[part + 1] - starts[part]),
    customdata: [0, 1, 2].map((part) => [starts[part], starts[part + 1] - 1]),
  });
  trace("filter").y = countsOf(found.filters, layers);
  trace("exit").y = countsOf(found.exits, layers);
  trace("first").x = [rules.first - 0.5, rules.first - 0.5];
  for (const [field, name] of [["filter_below", "filter below"], ["exit_from", "exit from"]]) {
    const distance = 1 - rules[field];
    Object.assign(trace(field), { y: [distance, distance], text: ["", `${name} ${rules[field]}`] });
  }
}

function showCounts({ filters, exits }, layers) {
  const columns = [countsOf(filters, layers), countsOf(exits, layers)];
  for (const [index, row] of [...document.getElementById("stories-table").tBodies[0].rows].entries()) {
    columns.forEach((counts, column) => (row.cells[column + 1].textContent = counts[index]));
  }
}

function sentence(rules, { filters, exits, middle, deep }, layers, halfv) {
  const having = (found) => `${found.filter((layer) => layer < layers).length} of ${found.length}`;
  const parts = [["shallow", 0, middle], ["middle", middle, deep], ["deep", deep, layers]].filter(([, from, to]) => to > from);
  const named = parts.map(([name, from, to]) => `${name} ${to - from === 1 ? `layer ${from}` : `layers ${from} to ${to - 1}`}`);
  const words = [
    `With a filter below ${rules.filter_below} from layer ${rules.first} on, ${having(filters)} samples have a filter layer; with an`,
    `exit from ${rules.exit_from} at ${rules.votes} ${rules.votes === 1 ? "layer" : "layers"} after it, ${having(exits)} have an`,
    `exit layer. VisiPruner's stages: ${named.join(", ")}.`,
  ];
  if (halfv) {
    const stage = (layer, starts) => starts.filter((start) => start <= layer).length;
    const shared = [...Array(layers).keys()].filter((layer) => stage(layer, halfv) === stage(layer, [middle, deep]));
    words.push(`HalfV's stages are the same on ${shared.length} of ${layers} layers.`);
  }
  return words.join(" ");
}

const rulesPanel = document.getElementById("stories-rules");
if (rulesPanel) addTwoStories(rulesPanel);
