// Charts are drawn by plotly, which is started when the first one is looked at.
function plotly() {
  if (!window.Plotly) {
    const script = document.createElement("script");
    script.textContent = $("plotly").textContent;
    document.head.append(script);
  }
  return window.Plotly;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
// Plotly reads a little markup in labels.
const literal = (text) => String(text).replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" }[c]));

function layout(changes = {}) {
  const axis = (more = {}) => ({ gridcolor: color("line"), zerolinecolor: color("line"), linecolor: color("line"), ...more, title: { text: literal(more.title || ""), font: { size: 12 } } });
  const { xaxis, yaxis, ...rest } = changes;
  return {
    paper_bgcolor: color("back"), plot_bgcolor: color("back"), font: { color: color("text"), size: 12 },
    margin: { l: 55, r: 15, t: 15, b: 45 }, hoverlabel: { align: "left" }, legend: { orientation: "h", y: 1.12 },
    ...rest, xaxis: axis(xaxis), yaxis: axis(yaxis),
  };
}

function draw(target, traces, changes) {
  const still = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  plotly().react(target, traces, layout(changes), still);
  target.redraw = () => plotly().react(target, traces, layout(changes), still);
}

// Wilson's interval of a bin's accuracy, at 95%.
function wilson(share, n, z = 1.96) {
  const centre = (share + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((share * (1 - share)) / n + (z * z) / (4 * n * n));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

const FEW = 10; // a bin with fewer items says next to nothing, and is drawn hollow

function drawReliability(target, bins) {
  const band = bins.map(([, n, , accuracy]) => wilson(accuracy, n));
  const x = bins.map(([, , confidence]) => confidence);
  const text = bins.map(([i, n, c, a], k) => `bin (${digits(i / 15, 3)}, ${digits((i + 1) / 15, 3)}]<br>${n} items<br>confidence ${digits(c, 3)}<br>accuracy ${digits(a, 3)} [${digits(band[k][0], 3)}, ${digits(band[k][1], 3)}]`);
  draw(target, [
    { x: [0, 1], y: [0, 1], mode: "lines", line: { color: color("soft"), dash: "dot" }, name: "perfect", hoverinfo: "skip" },
    { x: [...x, ...x.slice().reverse()], y: [...band.map((b) => b[1]), ...band.map((b) => b[0]).reverse()], fill: "toself", fillcolor: color("band"), line: { width: 0 }, mode: "lines", name: "95% band", hoverinfo: "skip" },
    { x, y: bins.map(([, , , a]) => a), mode: "lines+markers", text, hoverinfo: "text", name: "accuracy", line: { color: color("accent") }, marker: { symbol: bins.map(([, n]) => (n < FEW ? "circle-open" : "circle")), size: bins.map(([, n]) => Math.max(5, Math.min(18, 3 + Math.sqrt(n)))) } },
  ], { xaxis: { title: "confidence", range: [0, 1.02] }, yaxis: { title: "accuracy", range: [0, 1.02] } });
}

function drawHistogram(target, bins) {
  draw(target, [{
    type: "bar", x: bins.map(([i]) => (i + 0.5) / 15), y: bins.map(([, n]) => n), width: 1 / 15 - 0.004, marker: { color: color("accent") },
    text: bins.map(([, n]) => n), textposition: "outside", hovertemplate: "%{y} items<extra></extra>",
  }], { xaxis: { title: "confidence", range: [0, 1] }, yaxis: { title: "items" } });
}

function drawPair(target, pair) {
  const groups = [[], []];
  for (let i = 0; i < pair.points.length; i += 3) groups[pair.points[i + 2]].push([pair.points[i] / 1000, pair.points[i + 1] / 1000]);
  const trace = (points, name, marker) => ({ x: points.map((p) => p[0]), y: points.map((p) => p[1]), mode: "markers", name, marker, hovertemplate: "full precision %{x:.3f}<br>quantized %{y:.3f}<extra></extra>" });
  draw(target, [
    { x: [0, 1], y: [0, 1], mode: "lines", line: { color: color("soft"), dash: "dot" }, hoverinfo: "skip", showlegend: false },
    trace(groups[0], "same answer", { color: color("accent"), opacity: 0.55, size: 6 }),
    trace(groups[1], "answer flipped", { color: color("fail"), symbol: "x", size: 8 }),
  ], { xaxis: { title: "full-precision confidence", range: [0, 1.02] }, yaxis: { title: "quantized confidence", range: [0, 1.02] } });
}

function drawDifferences(target, cell) {
  const found = data.differences.map((name, i) => [name, cell.differences[i][state.metric]]).filter(([, e]) => e && e.every((v) => typeof v === "number"));
  draw(target, [{
    x: found.map(([, e]) => e[0]), y: found.map(([name]) => name), mode: "markers", marker: { size: 10, color: color("accent") },
    error_x: { type: "data", symmetric: false, array: found.map(([, e]) => e[2] - e[0]), arrayminus: found.map(([, e]) => e[0] - e[1]), color: color("accent") },
    hovertemplate: "%{y}: %{x:.4f}<extra></extra>",
  }], { xaxis: { title: data.metrics[state.metric], zeroline: true, zerolinewidth: 2 }, yaxis: { autorange: "reversed" }, showlegend: false, margin: { l: 90, r: 15, t: 15, b: 45 } });
}
