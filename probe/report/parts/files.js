// Downloads (numbers from a chart's table, pictures from plotly) and the copy button. Nothing is sent anywhere.
"use strict";

function numbers(table) {
  const value = (cell) => {
    if (cell.dataset.value !== undefined) return JSON.parse(cell.dataset.value);
    const text = cell.textContent;
    if (!cell.classList.contains("number")) return text;
    return text === "" ? null : Number(text);
  };
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map(value));
  return { columns: [...table.tHead.rows[0].cells].map((cell) => cell.textContent), rows };
}

// Text that a spreadsheet would take for a formula gets a leading quote; numbers stay as they are.
function field(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value ?? "") ? `'${value}` : value ?? "";
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asCsv({ columns, rows }) {
  return [columns, ...rows].map((row) => row.map(field).join(",") + "\n").join("");
}

function save(name, address) {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}

function saveText(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  save(name, address);
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// Dark text on white, whatever the page's colours, so that the picture suits a paper.
async function savePicture(box, name, format) {
  if (!("drawn" in box.dataset)) await draw(box);
  const { data, layout } = box;
  const font = { ...layout.font, color: PAPER.ink };
  const picture = { data, layout: { ...layout, font, paper_bgcolor: PAPER.ground, plot_bgcolor: PAPER.ground } };
  const size = { width: layout.width, height: layout.height, scale: 2 };
  save(`${name}.${format}`, await Plotly.toImage(picture, { format, ...size }));
}

async function download({ chart, table: id, name, kind }) {
  const table = document.getElementById(`${id}-table`);
  if (kind === "csv") saveText(`${name}.csv`, "text/csv", asCsv(numbers(table)));
  else if (kind === "json") saveText(`${name}.json`, "application/json", JSON.stringify(numbers(table), null, 1));
  else await savePicture(document.getElementById(chart), name, kind);
}

// Without clipboard access, as on some pages opened from a file, the command is only selected.
async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  getSelection().selectAllChildren(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.firstChild.textContent = "Copied";
  } catch {
    button.firstChild.textContent = "Selected";
  }
}

addEventListener("click", ({ target }) => {
  const button = target.closest?.("button");
  if (button?.dataset.kind) download(button.dataset);
  if (button?.dataset.copy) copy(button);
});
