// The key of the chart of methods: each button shows or hides a line, with the area that belongs to it.
"use strict";
const lineButtons = (box) => [...document.querySelectorAll(`button[data-line][data-of=${box.id}]`)];
const unescaped = (text) => new DOMParser().parseFromString(text, "text/html").documentElement.textContent;

async function showLines(box, names, shown) {
  if (!("drawn" in box.dataset)) await draw(box);
  const members = [...box.data.keys()].filter((index) => names.includes(unescaped(box.data[index].legendgroup)));
  if (members.length) Plotly.restyle(box, { visible: shown }, members);
  for (const button of lineButtons(box)) if (names.includes(button.dataset.line)) press(button, shown);
}

addEventListener("click", ({ target }) => {
  const button = target.closest?.("button[data-of]");
  if (!button) return;
  const box = document.getElementById(button.dataset.of);
  const all = lineButtons(box).map((one) => one.dataset.line);
  if (button.dataset.lines) showLines(box, all, button.dataset.lines === "all");
  else showLines(box, [button.dataset.line], button.getAttribute("aria-pressed") !== "true");
});
