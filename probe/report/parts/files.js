// Downloads: numbers from a chart's table, pictures from plotly; and the copy button. Nothing leaves the page.
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

// Text that a spreadsheet would take for a formula is marked as text; numbers are left alone.
function field(value) {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = /^[=+\-@\t\r]/.test(value ?? "") ? `'${value}` : value ?? "";
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

// On white with dark letters, whatever the page looks like, so that it fits a paper.
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

// Without clipboard (a page from a file may not have it) the command is selected, ready to be copied by hand.
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
