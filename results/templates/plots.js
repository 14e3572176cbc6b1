"use strict";
// Draws the page's plots in the page's colours, and again when light turns dark.
const figures = JSON.parse(document.getElementById("plots").textContent);
const narrow = window.matchMedia("(max-width: 600px)");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function colour(name) {
  const value = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return /^\d/.test(value) ? `rgb(${value})` : value;
}
function faded(name) {
  const parts = colour(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
  return `rgba(${parts.join(",")},0.2)`;
}
function coloured(value) {
  if (typeof value === "string") return value.startsWith("--") ? colour(value) : value;
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === "fillcolor" ? faded(item) : coloured(item)]));
  }
  return value;
}
function layout(figure, place) {
  const given = coloured(figure.layout);
  // The names of the classes and the legend are above a square plot.
  if (given.meta && given.meta.square) given.height = Math.min(place.clientWidth, 560) + 30;
  const axis = { color: colour("--muted"), gridcolor: colour("--faint"), zerolinecolor: colour("--faint") };
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") };
  return {
    ...given, font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...axis, ...given.xaxis }, yaxis: { ...axis, ...given.yaxis },
    margin: { ...given.margin, ...(narrow.matches ? { l: 42 } : {}) },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--faint"), font },
  };
}
function draw() {
  for (const [name, figure] of Object.entries(figures)) {
    const place = document.getElementById(`plot-${name}`);
    if (place) {
      Plotly.react(place, coloured(figure.data), layout(figure, place), { displayModeBar: false, responsive: true });
    }
  }
}
draw();
dark.addEventListener("change", draw);
