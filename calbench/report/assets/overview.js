// The first thing to read: what each quantizer kept, which cells are worst, which calibrator and quantizer to take.
const OUTCOMES = [["pass", "kept"], ["fail", "lost"], ["inconclusive", "undecided"]];
const MAX_WORST = 10;

function drawOverview() {
  const cells = matching();
  const compared = cells.filter((c) => !c.reference);
  $("count").textContent = `${compared.length.toLocaleString("en")} cells of compressed models`;
  const byQuantizer = grouped(compared, (c) => c.quantizer);
  $("tiles").replaceChildren(...[...byQuantizer].map(([name, members]) => tile(name, members)));
  const worst = compared.filter((c) => c.verdict === "fail" || c.verdict === "inconclusive").sort(worstFirst).slice(0, MAX_WORST);
  $("worst").replaceChildren(worst.length ? worstTable(worst) : element("p", { class: "empty" }, "No gate failed, and none is undecided."));
  $("by-calibrator").replaceChildren(...rankingParts("calibrators", compared, ARM.transferred));
  $("by-quantizer").replaceChildren(...rankingParts("quantizers", compared, ARM.transferred));
}

function tile(name, members) {
  const n = Object.fromEntries(OUTCOMES.map(([outcome]) => [outcome, members.filter((c) => c.verdict === outcome).length]));
  const asked = OUTCOMES.reduce((sum, [outcome]) => sum + n[outcome], 0);
  const state = n.fail ? "fail" : n.inconclusive ? "inconclusive" : n.pass ? "pass" : "";
  const size = [members[0].bits && `${digits(members[0].bits, 1)} bits`, members[0].mib && `${digits(members[0].mib, 0)} MiB`].filter(Boolean).join(", ");
  return element("button", { type: "button", class: `tile ${state}`, onclick: () => { $("filter-quantizer").value = name; show("leaderboard", true); } },
    element("strong", {}, name),
    element("span", { class: "bar-of-outcomes", "aria-hidden": "true" }, OUTCOMES.filter(([o]) => n[o]).map(([o]) => element("i", { class: o, style: `flex-grow: ${n[o]}` }))),
    element("span", {}, asked ? OUTCOMES.filter(([o]) => n[o]).map(([o, word]) => `${n[o]} ${word}`).join(", ") : "no gate"),
    size ? element("small", {}, size) : null);
}

// New failures, then accepted ones, by how far they are beyond their margin; then what is open by how far it may be.
for (const cell of data.cells) {
  const of = (g) => Math.abs(g.delta) - g.margin;
  const open = cell.gates.filter((g) => g.outcome === cell.verdict && typeof g.delta === "number");
  cell.excess = Math.max(-Infinity, ...open.map(of));
  cell.place = cell.verdict === "fail" && cell.accepted.length ? 0.5 : verdictOrder[cell.verdict];
}
const worstFirst = (a, b) => a.place - b.place || b.excess - a.excess || 0;

function worstTable(cells) {
  const named = (c) => element("button", { type: "button", class: "link", onclick: () => openDetail(c) }, `${c.model} · ${c.task} · ${c.quantizer} · ${c.calibrator}`);
  const rows = cells.map((c) => {
    const gate = c.gates.find((g) => g.outcome === c.verdict);
    const needed = gate?.remedy || c.accepted[0] || "";
    return [named(c), element("span", { class: c.verdict }, c.verdict === "fail" ? (c.accepted.length ? "lost (accepted)" : "lost") : "undecided"), gate ? gate.said : "", needed];
  });
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Worst cells" }, table(["cell", "verdict", "gate", "what decides"], rows, { class: "texts" }));
}

// Means over the cells that all the compared things share, so that none is favoured by an easier task.
function means(cells, key, arm) {
  const other = key === "calibrator" ? "quantizer" : "calibrator";
  const place = (c) => `${c.model}\u0000${c.task}\u0000${key === "calibrator" ? c[other] : ""}`;
  const all = [...grouped(cells, (c) => c[key])].map(([name, members]) => [name, new Map(members.map((c) => [place(c), c]))]);
  const most = Math.max(0, ...all.map(([, members]) => members.size));
  const groups = all.filter(([, members]) => 2 * members.size > most); // what was measured here and there only would leave nothing to share
  const shared = groups.length ? [...groups[0][1].keys()].filter((p) => groups.every(([, members]) => members.has(p))) : [];
  if (!shared.length) return element("p", { class: "empty" }, "They share no cell.");
  const measures = ["nll", "brier", "ece", "accuracy"].map((m) => [m, data.metrics.indexOf(m)]).filter(([, i]) => i >= 0);
  const rows = groups.map(([name, members]) => [name, ...measures.map(([, i]) => {
    const values = shared.map((p) => members.get(p).arms[arm][i]?.[0]);
    return values.every((v) => typeof v === "number") ? values.reduce((a, b) => a + b, 0) / values.length : null;
  })]);
  rows.sort((a, b) => (a[1] ?? Infinity) - (b[1] ?? Infinity));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Means by ${key}` },
    table([`${key} (${shared.length} shared ${shared.length === 1 ? "cell" : "cells"})`, ...measures.map(([m]) => m)], rows.map(([name, ...values]) => [name, ...values.map((v) => digits(v))])));
}
