"use strict";
// Sorting: each body of a table by itself, so that no unranked row climbs among the ranked ones.
function compare(a, b, numeric) {
  return numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true });
}
function sortBy(button, wanted) {
  const heading = button.closest("th");
  const table = button.closest("table");
  const column = [...heading.parentNode.children].indexOf(heading);
  const numeric = heading.classList.contains("number");
  const now = heading.getAttribute("aria-sort");
  const flipped = { ascending: "descending", descending: "ascending" };
  const direction = wanted || flipped[now] || button.dataset.first;
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
  button.addEventListener("click", () => {
    sortBy(button);
    if (button.closest(".board")) keepView();
  });
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
  if (location.hash.includes("=")) return; // a view, no row
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
// The address keeps what is shown: filters, sorting and columns; it can be sent to others.
const switches = [...document.querySelectorAll("[data-column]")];
function showColumn(box) {
  for (const cell of document.querySelectorAll(`.board .c-${box.dataset.column}`)) cell.hidden = !box.checked;
}
function keepView() {
  const view = new URLSearchParams();
  for (const field of document.querySelectorAll("[data-filter]")) {
    if (field.value) view.set(field.dataset.filter, field.value);
  }
  document.querySelectorAll(".board").forEach((table, number) => {
    const heading = table.querySelector("th:not([aria-sort=none])");
    const [key, direction] = [heading?.dataset.key, heading?.getAttribute("aria-sort")];
    if (key && (key !== "rank" || direction !== "ascending")) view.append("sort", `${number}.${key}.${direction}`);
  });
  if (switches.some((box) => box.checked !== box.defaultChecked)) {
    view.set("columns", switches.filter((box) => box.checked).map((box) => box.dataset.column).join(","));
  }
  history.replaceState(null, "", `${location.pathname}${location.search}${view.size ? `#${view}` : ""}`);
}
function showView() {
  const view = new URLSearchParams(location.hash.slice(1));
  for (const field of document.querySelectorAll("[data-filter]")) {
    if (view.has(field.dataset.filter)) field.value = view.get(field.dataset.filter);
  }
  for (const entry of view.getAll("sort")) {
    const [number, key, direction] = entry.split(".");
    const buttons = document.querySelectorAll(".board")[number]?.querySelectorAll("th button") || [];
    const button = [...buttons].find((one) => one.parentNode.dataset.key === key);
    if (button && ["ascending", "descending"].includes(direction)) sortBy(button, direction);
  }
  if (view.has("columns")) {
    const keys = view.get("columns").split(",");
    for (const box of switches) box.checked = keys.includes(box.dataset.column);
    switches.forEach(showColumn);
  }
  applyFilters();
}
const choosing = document.querySelector(".choosing");
if (choosing) {
  choosing.addEventListener("click", () => {
    const list = document.getElementById("choose");
    list.hidden = !list.hidden;
    choosing.setAttribute("aria-expanded", String(!list.hidden));
  });
}
for (const box of switches) {
  box.addEventListener("change", () => {
    showColumn(box);
    keepView();
  });
}
// Two rows that are picked can be compared: by the page, if it is there, or by the command.
const picked = [];
function pick(box) {
  if (box.checked) picked.push(box);
  else picked.splice(picked.indexOf(box), 1);
  while (picked.length > 2) picked.shift().checked = false;
  const [line, names] = [document.querySelector(".picked"), picked.map((one) => one.dataset.pick)];
  const made = line.dataset.compared.split(" ");
  const page = [names, [...names].reverse()].map((pair) => `compare-${pair.join("-")}.html`).find((name) => made.includes(name));
  const [text, code, link] = line.children;
  line.hidden = !picked.length;
  text.textContent = picked.length === 2 ? "To compare the two:" : "Pick a second row to compare the two.";
  code.textContent = picked.length === 2 ? `dadnet compare ${names.join(" ")}` : "";
  link.hidden = !page;
  if (page) link.href = page;
}
for (const box of document.querySelectorAll("[data-pick]")) box.addEventListener("change", () => pick(box));
if (filters) {
  for (const kind of ["input", "change"]) {
    filters.addEventListener(kind, (event) => {
      applyFilters();
      if (event.target.matches("[data-filter]")) keepView();
    });
  }
  filters.addEventListener("submit", (event) => event.preventDefault());
  if (location.hash.includes("=")) showView();
}
