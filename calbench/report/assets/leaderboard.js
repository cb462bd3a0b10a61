// The table: columns, filters, sorting.
const verdictOrder = { fail: 0, inconclusive: 1, pass: 2, "": 3 };
const state = { metric: Math.max(0, data.metrics.indexOf("ece")), sort: null, descending: false, hidden: new Set(), shown: [] };
const ARM = Object.fromEntries(data.arms.map((name, i) => [name, i]));
const estimateOf = (cell, kind, which) => cell[kind][which][state.metric];

const textColumn = (key, title) => ({ key, title, text: (c) => c[key], sort: (c) => c[key] });
const numberColumn = (key, title, n) => ({ key, title, number: true, text: (c) => digits(c[key], n), sort: (c) => c[key] });
const estimateColumn = (key, title, kind, which, show, skip = () => false) => ({
  key, title, number: true, estimate: (c) => (skip(c) ? null : estimateOf(c, kind, which)), show,
  sort: (c) => (skip(c) ? null : estimateOf(c, kind, which)?.[0]),
});
const onReference = (c) => c.reference;
const columns = [
  textColumn("model", "model"), textColumn("task", "task"), textColumn("quantizer", "quantizer"), textColumn("calibrator", "calibrator"),
  { key: "verdict", title: "verdict", text: verdictText, sort: (c) => verdictOrder[c.verdict], class: (c) => c.verdict },
  estimateColumn("degradation", "Δ", "differences", 0, signed, onReference),
  numberColumn("bits", "bits", 2), numberColumn("mib", "MiB", 0), numberColumn("n", "n", 0),
  { key: "accuracy", title: "accuracy", number: true, text: (c) => digits(accuracyOf(c), 3), sort: accuracyOf },
  { key: "raw", title: "raw", number: true, text: (c) => digits(estimateOf(c, "arms", ARM.raw_candidate)?.[0]), sort: (c) => estimateOf(c, "arms", ARM.raw_candidate)?.[0] },
  estimateColumn("transferred", "transferred", "arms", ARM.transferred, digits),
  { key: "rank", title: "rank", number: true, text: (c) => (c.rank ? `${c.rank[0]} (${c.rank[1]}–${c.rank[2]})` : ""), sort: (c) => c.rank?.[0] },
  estimateColumn("regret", "regret", "differences", 1, signed, onReference),
  estimateColumn("benefit", "benefit", "differences", 2, signed),
];
// The detail has what does not fit a screen; a column without a value says nothing.
const hiddenAtFirst = ["regret", "benefit", ...["bits", "mib", "rank"].filter((key) => data.cells.every((c) => c[key] === null))];
function accuracyOf(cell) { const i = data.metrics.indexOf("accuracy"); return cell.arms[ARM.raw_candidate][i]?.[0]; }
function verdictText(cell) {
  const mark = { yes: " ▼ hurts", maybe: " ▽ may hurt" }[cell.hurts] || "";
  return cell.verdict + (cell.failed.length ? `: ${cell.failed.join("; ")}` : "") + (cell.accepted.length ? " (accepted)" : "") + mark;
}

function fillSelects() {
  for (const key of ["model", "task", "quantizer", "calibrator"]) {
    const values = [...new Set(data.cells.map((c) => c[key]))];
    $(`filter-${key}`).append(element("option", { value: "" }, "all"), ...values.map((v) => element("option", { value: v }, v)));
  }
  const verdicts = [["", "all"], ["fail", "fail"], ["inconclusive", "inconclusive"], ["pass", "pass"], ["hurts", "▼ hurts"]];
  $("filter-verdict").append(...verdicts.map(([v, t]) => element("option", { value: v }, t)));
  $("metric").append(...data.metrics.map((m, i) => element("option", { value: i }, m)));
  $("metric").value = state.metric;
  for (const column of columns.slice(4)) {
    const box = element("input", { type: "checkbox" });
    box.checked = !hiddenAtFirst.includes(column.key);
    if (!box.checked) state.hidden.add(column.key);
    box.addEventListener("change", () => { state.hidden[box.checked ? "delete" : "add"](column.key); drawTable(); });
    $("column-list").append(element("label", {}, box, column.title));
  }
}

function matching() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = ["model", "task", "quantizer", "calibrator"].map((key) => [key, $(`filter-${key}`).value]).filter(([, v]) => v);
  const verdict = $("filter-verdict").value;
  const folded = current === "leaderboard" && !$("references").checked;
  return data.cells.filter((c) => {
    if (folded && c.reference) return false;
    const name = `${c.model} ${c.task} ${c.quantizer} ${c.calibrator} ${c.verdict}`.toLowerCase();
    return words.every((w) => name.includes(w)) && wanted.every(([key, v]) => c[key] === v)
      && (!verdict || (verdict === "hurts" ? c.hurts === "yes" : c.verdict === verdict));
  });
}

const isFiltered = () => Boolean($("search").value.trim() || FILTERS.some((key) => $(`filter-${key}`).value));

function sorted(cells) {
  const column = columns.find((c) => c.key === state.sort);
  if (!column) return cells.slice().sort(worstFirst);
  const sign = state.descending ? -1 : 1;
  return cells.map((c, i) => [column.sort(c), i, c]).sort(([a, i], [b, j]) => {
    const missing = (v) => v === null || v === undefined || v === "";
    if (missing(a) || missing(b)) return missing(a) - missing(b) || i - j; // what is not known comes last
    const order = typeof a === "string" || typeof b === "string" ? String(a).localeCompare(String(b), "en", { numeric: true }) : a - b;
    return sign * order || i - j;
  }).map(([, , c]) => c);
}

function drawTable() {
  const visible = columns.filter((c) => !state.hidden.has(c.key));
  const metric = data.metrics[state.metric];
  const heading = (c) => (["raw", "transferred"].includes(c.key) ? `${c.title} ${metric}` : c.key === "degradation" ? `Δ ${metric}` : c.title);
  $("leaderboard").tHead.replaceChildren(element("tr", {}, visible.map((c) => element("th", {
    scope: "col", class: c.number ? "number" : null, "data-key": c.key,
    "aria-sort": state.sort === c.key ? (state.descending ? "descending" : "ascending") : "none",
  }, element("button", { type: "button", onclick: () => sortBy(c.key) }, heading(c))))));
  state.shown = sorted(matching());
  const body = document.createDocumentFragment();
  for (const cell of state.shown) body.append(tableRow(cell, visible));
  if (!state.shown.length) body.append(element("tr", {}, element("td", { class: "empty", colspan: visible.length }, "No cell matches; reset the filters.")));
  $("leaderboard").tBodies[0].replaceChildren(body);
  $("count").textContent = `${state.shown.length.toLocaleString("en")} of ${data.cells.length.toLocaleString("en")} cells`;
}

function tableRow(cell, visible) {
  const row = document.createElement("tr");
  row.addEventListener("click", () => openDetail(cell));
  visible.forEach((column, i) => {
    const td = document.createElement("td");
    if (column.number) td.className = "number";
    if (column.class) td.className = column.class(cell);
    if (i === 0) {
      const button = element("button", { type: "button", "aria-label": `Open ${cell.id}` }, column.text(cell));
      td.append(button, element("span", { class: "whole" }, [cell.task, cell.quantizer, cell.calibrator].join(" · ")));
    } else if (column.estimate) {
      const e = column.estimate(cell);
      if (e) td.append(column.show(e[0]), element("span", { class: "interval" }, interval(e, column.show)));
    } else td.textContent = column.text(cell);
    row.append(td);
  });
  return row;
}

function sortBy(key) {
  state.descending = state.sort === key ? !state.descending : false;
  state.sort = key;
  redraw();
  document.querySelector(`#leaderboard th[data-key="${key}"] button`).focus();
}
