// The detail of a cell, the Pareto view, the transfer matrix, and where the numbers come from.
let opener = null;
let opened = null;

function openDetail(cell) {
  opener = document.activeElement;
  $("detail-title").textContent = `${cell.model} · ${cell.task} · ${cell.quantizer} · ${cell.calibrator}`;
  $("detail-body").replaceChildren(...detailParts(cell));
  $("detail").showModal();
  $("close").focus();
  opened = cell.id;
  remember();
  drawDetail(cell, ARM.transferred);
}

function closeDetail() {
  $("detail").close();
}

function detailParts(cell) {
  const select = element("select", { id: "detail-arm" }, data.arms.map((arm, i) => element("option", { value: i }, arm.replaceAll("_", " "))));
  select.value = ARM.transferred;
  select.addEventListener("change", () => drawDetail(cell, Number(select.value)));
  const estimate = (e, show = digits) => (e ? `${show(e[0])}${interval(e, show)}` : "");
  const rows = [
    ...data.arms.map((arm, i) => [arm.replaceAll("_", " "), ...cell.arms[i].map((e) => estimate(e))]),
    ...data.differences.map((name, i) => [name, ...cell.differences[i].map((e) => estimate(e, signed))]),
  ];
  const figure = (id, caption, label) => element("figure", {}, element("div", { id, class: "plot", role: "group", "aria-label": label }), element("figcaption", {}, caption));
  const known = cell.bins.some(Boolean);
  const pair = data.pairs[cell.pair];
  return [
    element("p", { class: "verdict" }, element("span", { class: cell.verdict }, verdictText(cell) || "no gate"), ...cell.accepted.map((why) => `: ${why}`)),
    ...gateParts(cell),
    element("p", {}, `${cell.n.toLocaleString("en")} test items, fitted on ${cell.nc.toLocaleString("en")}; ${(cell.level * 100).toFixed(0)}% intervals; seed ${cell.seed}. Reference: ${cell.origin}.`),
    ...cell.warnings.map((w) => element("p", { class: `warning${/ hurts:/.test(w) ? " hurts" : ""}` }, w)),
    element("div", { class: "scroll small", tabindex: "0" }, table(["arm or difference", ...data.metrics], rows)),
    known ? element("p", {}, element("label", {}, "Diagrams of ", select)) : element("p", { class: "note" }, "These results were written by an older calbench and hold no diagrams; run again to draw them."),
    element("div", { class: "grid" },
      known ? figure("plot-reliability", "Accuracy against confidence in 15 bins; the band is Wilson's 95% interval of a bin's accuracy, a marker's size the number of items, hollow where fewer than 10.", "Reliability diagram") : null,
      known ? figure("plot-histogram", "How many items each bin holds.", "Histogram of confidences") : null,
      pair && !cell.reference ? figure("plot-pair", `Raw confidence of both models on ${pair.points.length / 3} of ${pair.n} test items; ${pair.flips} of all answers flip.`, "Confidence at full precision against quantized") : null,
      figure("plot-differences", "Degradation (Δ): what was lost in transfer. Regret: what refitting would gain. Benefit: gained over no calibrator.", "Degradation, regret and benefit with their intervals")),
    known ? element("details", {}, element("summary", {}, "The diagram as a table"), element("div", { id: "bins-table" })) : null,
    ...provenanceParts(cell),
  ].filter(Boolean);
}

function drawDetail(cell, arm) {
  const bins = cell.bins[arm];
  if (bins) {
    drawReliability($("plot-reliability"), bins);
    drawHistogram($("plot-histogram"), bins);
    $("bins-table").replaceChildren(table(["bin", "items", "confidence", "accuracy"], bins.map(([i, n, c, a]) => [`(${digits(i / 15, 3)}, ${digits((i + 1) / 15, 3)}]`, n, digits(c), digits(a)])));
  }
  if ($("plot-pair")) drawPair($("plot-pair"), data.pairs[cell.pair]);
  drawDifferences($("plot-differences"), cell);
}

function gateParts(cell) {
  if (!cell.gates.length) return [];
  const rows = cell.gates.map((g) => [element("span", { class: g.outcome }, g.outcome), g.said, `[${digits(g.interval[0])}, ${digits(g.interval[1])}]`, g.remedy, g.accepted || "", g.test]);
  return [element("h2", {}, "Gates"), element("div", { class: "scroll", tabindex: "0" }, table(["outcome", "measured, and its limit", "interval", "what decides", "accepted because", "test"], rows, { class: "texts" }))];
}

function provenanceParts(cell) {
  const record = (key, what) => element("details", {}, element("summary", {}, `${what}: `, element("code", {}, key)), json(data.records[key] || "not described"));
  const seeds = Object.entries(cell.other_seeds).map(([seed, [value, delta]]) => [seed, digits(value), signed(delta)]);
  return [
    element("h2", {}, "Provenance"),
    record(cell.records[0], "reference"),
    cell.reference ? null : record(cell.records[1], "candidate"),
    cell.fitted ? element("details", {}, element("summary", {}, "The fitted calibrator"), json(cell.fitted)) : null,
    seeds.length ? element("details", {}, element("summary", {}, "Other divisions of the items"), table(["seed", "transferred ece", "Δ ece"], seeds)) : null,
  ].filter(Boolean);
}

let paretoChose = false;
function chooseOneTask() {
  if (paretoChose || $("filter-task").value) return;
  paretoChose = true; // once: who asks for all tasks afterwards gets them
  $("filter-task").value = data.cells[0]?.task ?? "";
}

function drawPareto() {
  chooseOneTask();
  const key = $("pareto-x").value;
  const higher = data.metrics[state.metric] === "accuracy";
  const points = matching().map((c) => ({ cell: c, x: c[key], e: estimateOf(c, "arms", ARM.transferred), accuracy: accuracyOf(c) }))
    .filter((p) => typeof p.x === "number" && p.e && typeof p.e[0] === "number");
  const frontier = [];
  const oneTask = new Set(points.map((p) => p.cell.task)).size <= 1;
  $("pareto-note").hidden = oneTask;
  if (oneTask) for (const p of points.slice().sort((a, b) => a.x - b.x || (higher ? b.e[0] - a.e[0] : a.e[0] - b.e[0]))) {
    const best = frontier.at(-1);
    if (!best || (higher ? p.e[0] > best.e[0] : p.e[0] < best.e[0])) frontier.push(p);
  }
  const name = (c) => `${c.model} · ${c.task} · ${c.quantizer} · ${c.calibrator}`;
  $("count").textContent = `${points.length} of ${data.cells.length} cells have a size and this metric`;
  const sure = (v, fallback) => (typeof v === "number" ? v : fallback);
  draw($("pareto-plot"), [
    { x: frontier.map((p) => p.x), y: frontier.map((p) => p.e[0]), mode: "lines", line: { color: color("soft"), shape: "hv", dash: "dot" }, name: "frontier", hoverinfo: "skip" },
    {
      x: points.map((p) => p.x), y: points.map((p) => p.e[0]), mode: points.length <= 40 ? "markers+text" : "markers", showlegend: false, customdata: points.map((_, i) => i),
      text: points.map((p) => literal(p.cell.quantizer)), textposition: "top center", textfont: { size: 10 },
      hovertext: points.map((p) => `${literal(name(p.cell))}<br>${digits(p.e[0])}${interval(p.e)}<br>accuracy ${digits(p.accuracy, 3)}`), hoverinfo: "text",
      error_y: { type: "data", symmetric: false, array: points.map((p) => sure(p.e[2], p.e[0]) - p.e[0]), arrayminus: points.map((p) => p.e[0] - sure(p.e[1], p.e[0])), color: color("line"), thickness: 1, width: 2, visible: points.length <= 150 },
      marker: { size: 10, color: points.map((p) => sure(p.accuracy, null)), colorscale: "Viridis", colorbar: { title: { text: "accuracy" }, thickness: 14 }, line: { width: 1, color: color("back") } },
    },
  ], { xaxis: { title: $("pareto-x").selectedOptions[0].textContent }, yaxis: { title: `${data.metrics[state.metric]} after the transferred calibrator` } });
  const plot = $("pareto-plot");
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", (event) => { const i = event.points[0].customdata; if (i !== undefined) openDetail(points[i].cell); });
  $("pareto-table").replaceChildren(frontier.length ? table(["cell", $("pareto-x").selectedOptions[0].textContent, data.metrics[state.metric], "accuracy"], frontier.map((p) => [element("button", { type: "button", onclick: () => openDetail(p.cell) }, name(p.cell)), digits(p.x, 1), `${digits(p.e[0])}${interval(p.e)}`, digits(p.accuracy, 3)])) : element("p", {}, oneTask ? "No cell says how large it is." : "Choose one task."));
}

function drawMatrix() {
  const which = Number($("matrix-value").value);
  const worse = (which === 2 ? -1 : 1) * (data.metrics[state.metric] === "accuracy" ? -1 : 1);
  const cells = matching().filter((c) => !c.reference);
  const sizes = cells.map((c) => Math.abs(c.differences[which][state.metric]?.[0])).filter(Number.isFinite).sort((a, b) => a - b);
  // One ruined cell must not make all others pale; what is far below a usual margin is pale whatever else there is.
  const largest = Math.max(0.02, sizes[Math.floor(0.9 * sizes.length)] ?? 0);
  const groups = grouped(cells, (c) => `${c.model} on ${c.task}`);
  $("count").textContent = `${cells.length} transferred cells`;
  $("matrix").replaceChildren(...[...groups].map(([title, members]) => {
    const across = [...new Set(members.map((c) => c.quantizer))];
    const down = [...new Set(members.map((c) => c.calibrator))];
    const by = new Map(members.map((c) => [`${c.calibrator}\u0000${c.quantizer}`, c]));
    return element("section", {}, element("h2", {}, title), element("div", { class: "scroll", tabindex: "0" }, element("table", { class: "matrix" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "calibrator"), across.map((q) => element("th", { scope: "col", class: "number" }, q)))),
      element("tbody", {}, down.map((k) => element("tr", {}, element("th", { scope: "row" }, k), across.map((q) => matrixCell(by.get(`${k}\u0000${q}`), which, worse, largest))))))));
  }), ...(cells.length ? [] : [element("p", { class: "empty" }, "No transferred cell matches.")]));
}

function matrixCell(cell, which, worse, largest) {
  const e = cell?.differences[which][state.metric];
  if (!e || typeof e[0] !== "number") return element("td", {}, "");
  const strength = Math.round(14 + Math.min(1, Math.abs(e[0]) / largest) * 56);
  const hue = e[0] * worse > 0 ? "215, 48, 39" : "49, 110, 199";
  const sure = e[1] > 0 || e[2] < 0;
  return element("td", { class: sure ? "sure" : null, style: `background: rgba(${hue}, ${strength / 100})`, title: interval(e, signed).trim() },
    element("button", { type: "button", "aria-label": `${signed(e[0], 3)}: open ${cell.id}`, onclick: () => openDetail(cell) }, signed(e[0], 3)));
}

function grouped(cells, key) {
  const groups = new Map();
  for (const c of cells) groups.set(key(c), [...(groups.get(key(c)) || []), c]);
  return groups;
}

function drawProvenance() {
  $("count").textContent = `${Object.keys(data.records).length} records`;
  $("settings").replaceChildren(json({ calbench: data.calbench, created: data.created, ...data.settings }));
  $("definitions").replaceChildren(json(data.definitions));
  $("records").replaceChildren(...Object.entries(data.records).map(([key, record]) => {
    const details = element("details", {}, element("summary", {}, element("code", {}, key)));
    details.addEventListener("toggle", () => { if (details.open && details.childElementCount === 1) details.append(json(record)); });
    return details;
  }));
}
