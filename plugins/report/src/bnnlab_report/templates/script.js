"use strict";
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const root = document.documentElement;
for (const part of all(".js")) part.hidden = false;

// ---- the theme: that of the system, until the button chooses another
const theme = document.querySelector(".theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
const named = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; named(); });
system.addEventListener("change", named);
named();

// ---- tables: a button in each head sorts, a field filters
const exact = (cell) => cell.dataset.v ?? cell.textContent.trim();  // in full precision
const isNumber = (cell) => cell.matches("td:not(.text), th.number");
function compare(one, other) {
  if (isNumber(one) && isNumber(other)) return exact(one) - exact(other);
  return one.textContent.localeCompare(other.textContent, undefined, { numeric: true });
}
const lacks = (cell) => cell.matches(".none, td:empty");
function sort(table, head) {
  const up = head.ariaSort !== "ascending";
  for (const each of all("th[aria-sort]", table)) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const column = head.cellIndex;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    return lacks(a) - lacks(b) || (up ? compare(a, b) : compare(b, a));  // what lacks is last
  });
  table.tBodies[0].append(...rows);
}
for (const head of all("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sort(head.closest("table"), head));
}
for (const field of all(".filter")) {
  const place = field.closest(".table");
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    const rows = all("tbody tr", place);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    place.querySelector(".shown").textContent = field.value ? `${shown} of ${rows.length} rows` : "";
  });
}

// ---- downloads
function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
function entry(cell) {
  if (lacks(cell)) return "";
  const text = exact(cell);
  if (isNumber(cell)) return text;
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;  // a spreadsheet would compute it
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
for (const button of all(".csv")) {
  const place = button.closest(".table");
  button.addEventListener("click", () => {
    const lines = all("tr", place).map((row) => [...row.cells].map(entry).join(","));
    save(`${place.dataset.name}.csv`, "text/csv", `${lines.join("\n")}\n`);
  });
}
const LOOK = ["color", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "text-anchor"];
for (const button of all(".svg")) {
  const figure = button.closest("figure");
  button.addEventListener("click", () => {
    const drawn = figure.querySelector("svg");
    const copy = drawn.cloneNode(true);  // with the colours of the page, whose style it leaves
    const copies = [copy, ...all("*", copy)];
    for (const [place, part] of [drawn, ...all("*", drawn)].entries()) {
      const style = getComputedStyle(part);
      for (const name of LOOK) copies[place].setAttribute(name, style.getPropertyValue(name));
      copies[place].removeAttribute("class");
    }
    const paper = document.createElementNS(copy.namespaceURI, "rect");
    for (const side of ["width", "height"]) paper.setAttribute(side, "100%");
    paper.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
    copy.prepend(paper);
    save(`${figure.id}.svg`, "image/svg+xml", new XMLSerializer().serializeToString(copy));
  });
}
