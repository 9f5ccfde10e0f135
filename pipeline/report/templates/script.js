"use strict";
// Without this script the page shows every metric and no sorting; nothing else is lost.

// ---- choice of the metric
const choice = document.getElementById("metric");
function showMetric() {
  const chosen = choice.querySelector("input:checked").value;
  for (const box of document.querySelectorAll("[data-metric]")) {
    box.hidden = box.dataset.metric !== chosen;
  }
}
choice.hidden = false;
choice.addEventListener("change", showMetric);
showMetric();

// ---- sorting: a click goes from largest to smallest (names: from a to z), another one back
function sortBy(heading) {
  const table = heading.closest("table");
  const body = table.tBodies[0];
  const column = heading.cellIndex;
  const numbers = heading.dataset.sort === "number";
  const before = heading.getAttribute("aria-sort");
  const down = before ? before === "ascending" : numbers;
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => {
    const cell = row.cells[column];
    return numbers ? parseFloat(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (!numbers) return down ? b.localeCompare(a) : a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return down ? b - a : a - b;
  };
  body.append(...Array.from(body.rows).sort((a, b) => compare(key(a), key(b))));
}
for (const heading of document.querySelectorAll("th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = heading.textContent;
  button.addEventListener("click", () => sortBy(heading));
  heading.replaceChildren(button);
}

// ---- one player at a time; within an excerpt the next one goes on where the last one was
let playing = null;
document.addEventListener("play", (event) => {
  const next = event.target;
  if (playing && playing !== next) {
    const same = playing.closest("article") === next.closest("article");
    if (same && !playing.ended && next.currentTime === 0) next.currentTime = playing.currentTime;
    playing.pause();
    if (same) playing.currentTime = 0;
  }
  playing = next;
}, true);
