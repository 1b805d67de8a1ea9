// The controls above a chart: alternative views, sliders, and traces that are hidden at first.
"use strict";

// Plotly's own buttons and sliders cannot be reached by keyboard, so the page replaces them with real ones.
function addViewButtons(box, figure) {
  const bar = document.getElementById(`${box.id}-views`);
  for (const menu of figure.menus) {
    const group = addGroup(bar, "View");
    (menu.buttons || []).forEach((choice, index) => {
      const button = addButton(group, choice.label, index === (menu.active || 0));
      button.addEventListener("click", () => {
        for (const other of group.children) press(other, other === button);
        Plotly[choice.method](box, ...choice.args);
      });
    });
  }
  for (const slider of figure.sliders) addSlider(bar, box, slider);
  for (const group of hiddenGroups(figure)) addHiddenToggle(addGroup(bar, "Show"), box, group);
  bar.hidden = !bar.children.length;
}

function addSlider(bar, box, { steps, active, currentvalue }) {
  const label = document.createElement("label"), input = document.createElement("input");
  const shown = document.createElement("output");
  Object.assign(input, { type: "range", min: 0, max: steps.length - 1, value: active });
  const show = () => {
    shown.textContent = steps[input.value].label;
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => {
    show();
    const { method, args } = steps[input.value];
    Plotly[method](box, ...args);
  });
  show();
  label.append(currentvalue.prefix, input, shown);
  bar.append(label);
}

// The legend groups that are hidden at first.
function hiddenGroups(figure) {
  const isHidden = (trace) => trace.visible === "legendonly" && trace.legendgroup;
  return new Set(figure.data.filter(isHidden).map((trace) => trace.legendgroup));
}

function addHiddenToggle(bar, box, group) {
  const members = [...figureOf(box).data.keys()].filter((index) => figureOf(box).data[index].legendgroup === group);
  const named = members.map((index) => figureOf(box).data[index]).find((trace) => trace.showlegend !== false);
  const button = addButton(bar, named.name, false);
  button.addEventListener("click", () => {
    const shown = box.data[members[0]].visible !== true;
    press(button, shown);
    Plotly.restyle(box, { visible: shown ? true : "legendonly" }, members);
  });
}

function addGroup(bar, name) {
  const group = document.createElement("div");
  group.className = "choice";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", name);
  bar.append(group);
  return group;
}

function addButton(group, label, pressed) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = label;
  press(button, pressed);
  group.append(button);
  return button;
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}
