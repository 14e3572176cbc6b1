"use strict";
// Sorting: each body of a table by itself, so that no unranked row climbs among the ranked ones.
function compare(a, b, numeric) {
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
}
function sortBy(button) {
  const heading = button.closest("th");
  const table = button.closest("table");
  const column = [...heading.parentNode.children].indexOf(heading);
  const numeric = heading.classList.contains("number");
  const now = heading.getAttribute("aria-sort");
  const flipped = { ascending: "descending", descending: "ascending" };
  const direction = flipped[now] || button.dataset.first;
  for (const other of heading.parentNode.children) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // the unknown is always last
      return sign * compare(a, b, numeric);
    });
    body.append(...rows.map(([, row]) => row));
  }
}
for (const button of document.querySelectorAll(".board thead button")) {
  button.addEventListener("click", () => sortBy(button));
}
// A link to a row opens its details.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();
// A subject's cell says in words what it shows, for pointers and for fingers, which have no titles.
for (const strip of document.querySelectorAll(".strip")) {
  const output = strip.parentNode.querySelector(".pointed");
  const say = (event) => {
    const label = event.target.getAttribute("aria-label");
    if (label) output.textContent = label;
  };
  strip.addEventListener("pointerover", say);
  strip.addEventListener("click", say);
}
