// Tabs, theme, keyboard, and the first drawing.
const views = { overview: drawOverview, leaderboard: drawTable, pareto: drawPareto, transfer: drawMatrix, provenance: drawProvenance };
let current = "overview";
const FILTERS = ["model", "task", "quantizer", "calibrator", "verdict"];
function redraw() { views[current](); remember(); }

// What is looked at stands in the address: it can be sent to a colleague, and reloading keeps it.
function remember() {
  const wanted = new URLSearchParams();
  if (current !== "overview") wanted.set("view", current);
  for (const key of FILTERS) if ($(`filter-${key}`).value) wanted.set(key, $(`filter-${key}`).value);
  if ($("search").value) wanted.set("search", $("search").value);
  if (data.metrics[state.metric] !== "ece") wanted.set("metric", data.metrics[state.metric]);
  if (state.sort) wanted.set("sort", (state.descending ? "-" : "") + state.sort);
  if ($("references").checked) wanted.set("reference", "shown");
  if (opened) wanted.set("cell", opened);
  history.replaceState(null, "", `#${wanted}`);
}

function recall() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const key of FILTERS) if (wanted.get(key)) $(`filter-${key}`).value = wanted.get(key);
  $("search").value = wanted.get("search") || "";
  $("references").checked = wanted.get("reference") === "shown";
  const metric = data.metrics.indexOf(wanted.get("metric") || "");
  if (metric >= 0) $("metric").value = state.metric = metric;
  const sort = wanted.get("sort") || "";
  if (columns.some((c) => c.key === sort.replace(/^-/, ""))) [state.sort, state.descending] = [sort.replace(/^-/, ""), sort.startsWith("-")];
  show(views[wanted.get("view")] ? wanted.get("view") : "overview");
  const cell = data.cells.find((c) => c.id === wanted.get("cell"));
  if (cell) openDetail(cell);
}

function show(name, focus = false) {
  current = name;
  for (const key of Object.keys(views)) {
    const tab = $(`tab-${key}`);
    tab.setAttribute("aria-selected", key === name);
    tab.tabIndex = key === name ? 0 : -1;
    $(`view-${key}`).hidden = key !== name;
  }
  $("filters").hidden = name === "provenance";
  $("columns").hidden = $("fold").hidden = name !== "leaderboard";
  if (focus) $(`tab-${name}`).focus();
  redraw();
}

function setTheme(theme, keep = true) {
  document.documentElement.dataset.theme = theme;
  try { if (keep) localStorage.setItem("calbench-theme", theme); } catch { /* a file may not have storage */ }
  for (const plot of document.querySelectorAll(".plot")) if (plot.redraw && plot.isConnected) plot.redraw();
  if (current === "pareto") drawPareto();
}

function savedTheme() {
  try { return localStorage.getItem("calbench-theme"); } catch { return null; }
}

function listen() {
  for (const name of Object.keys(views)) $(`tab-${name}`).addEventListener("click", () => show(name));
  $("tabs").addEventListener("keydown", (event) => {
    const names = Object.keys(views);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(names[(names.indexOf(current) + step + names.length) % names.length], true);
  });
  let waiting = 0;
  $("search").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 80); });
  for (const key of FILTERS) $(`filter-${key}`).addEventListener("change", () => redraw());
  $("metric").addEventListener("change", () => { state.metric = Number($("metric").value); redraw(); });
  for (const id of ["pareto-x", "matrix-value", "references"]) $(id).addEventListener("change", () => redraw());
  $("reset").addEventListener("click", () => {
    $("search").value = "";
    for (const key of FILTERS) $(`filter-${key}`).value = "";
    state.sort = null;
    redraw();
  });
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("close").addEventListener("click", closeDetail);
  $("detail").addEventListener("close", () => { opened = null; remember(); opener?.focus?.(); });
  $("leaderboard").tBodies[0].addEventListener("keydown", moveBetweenRows);
  window.addEventListener("beforeprint", () => show("leaderboard"));
}

function moveBetweenRows(event) {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const row = step && event.target.closest("tr")?.[step];
  if (row) { event.preventDefault(); row.querySelector("button")?.focus(); }
}

setTheme(savedTheme() || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), false);
$("subtitle").textContent = `${data.cells.length.toLocaleString("en")} cells · calbench ${data.calbench} · ${data.created.slice(0, 16).replace("T", " ")} UTC`;
$("filters").open = !matchMedia("(max-width: 640px)").matches; // a phone shows results first
fillSelects();
listen();
recall();
document.documentElement.dataset.ready = "true";
