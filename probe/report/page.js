// Draws the figures that template.html embeds, in the colours of the page, with labels that fit its width.
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]] };

function fitLabels(layout, width) {
  const [first, last] = layout.xaxis.range || [0, 1];
  const perLayer = (width - layout.margin.l - layout.margin.r) / (last - first);
  const annotations = (layout.annotations || []).map((note) => {
    const shape = layout.shapes.find((shape) => (shape.x0 + shape.x1) / 2 === note.x);
    const room = (shape.x1 - shape.x0) * perLayer;
    return room < 84 ? { ...note, text: `<b>${note.name}</b>` } : note;
  });
  return { ...layout, annotations };
}

function draw() {
  const ink = getComputedStyle(document.body);
  for (const [id, figure] of Object.entries(figures)) {
    const box = document.getElementById(id);
    const layout = fitLabels(figure.layout, box.clientWidth);
    layout.font = { color: ink.color, family: ink.fontFamily, size: 13 };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: ink.backgroundColor, font: { color: ink.color } };
    // A finger that scrolls the page must not zoom the chart.
    layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    Plotly.react(box, figure.data, layout, config);
  }
}

draw();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
window.addEventListener("resize", () => requestAnimationFrame(draw));
