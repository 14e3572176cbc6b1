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
for (const button of document.querySelectorAll("table thead button[data-first]")) {
  button.addEventListener("click", () => sortBy(button));
}
// Buttons that copy a text; without the clipboard's permission the text is selected, to copy by hand.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it";
    }
  });
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
// Filters hide rows and whole groups; rankings are made once, within a group, and never change.
const filters = document.querySelector(".filters");
function applyFilters() {
  const wanted = Object.fromEntries(
    [...filters.querySelectorAll("[data-filter]")].map((field) => [field.dataset.filter, field.value])
  );
  const text = (wanted.method || "").toLocaleLowerCase("en");
  let shown = 0;
  let all = 0;
  for (const group of document.querySelectorAll(".group")) {
    group.hidden =
      (wanted.protocol && group.dataset.protocol !== wanted.protocol) ||
      (wanted["class-set"] && group.dataset.classSet !== wanted["class-set"]) || false;
    for (const row of group.querySelectorAll(".board tbody tr")) {
      const method = row.querySelector(".c-method").dataset.sort.toLocaleLowerCase("en");
      row.hidden = (wanted.selection && row.dataset.selection !== wanted.selection) || !method.includes(text);
      all += 1;
      shown += !row.hidden && !group.hidden;
    }
  }
  filters.querySelector("output").textContent = shown === all ? "" : `${shown} of ${all} rows`;
}
if (filters) {
  for (const kind of ["input", "change"]) filters.addEventListener(kind, applyFilters);
  filters.addEventListener("submit", (event) => event.preventDefault());
}
