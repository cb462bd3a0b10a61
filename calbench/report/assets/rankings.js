// Calibrators and quantizers ranked over every cell of the run, whatever the filters: a rank of a part is another rank.
const RANKED_FIRST = ["nll", "brier", "brier_toplabel"];

function rankingParts(kind, cells, arm) {
  const key = kind.slice(0, -1);
  const ranking = data.rankings[kind];
  const measured = ranking ? [data.metrics[state.metric], ...RANKED_FIRST].find((m) => ranking.metrics[m]) : null;
  if (!measured) return [means(cells, key, arm)];
  const left = [["lack a cell", ranking.left_out], ["are flattered by this reference", ranking.flattered]].filter(([, names]) => names.length);
  return [
    element("p", { class: "note" }, `By ${measured} over all ${ranking.n_cells} cells, whatever the filters. In brackets: the ranks that the items leave open.`),
    rankingTable(key, ranking, measured),
    ...left.map(([why, names]) => element("p", { class: "note" }, `Left out, as they ${why}: ${names.join(", ")}.`)),
    ...(isFiltered() ? [element("h3", {}, "Means over the cells that the filters leave"), means(cells, key, arm)] : []),
  ];
}

function rankingTable(key, ranking, measured) {
  const ranked = ranking.metrics[measured];
  const headings = [key, "rank", `mean ${measured}`, `win / tie / loss against ${ranking.against}`, "gates kept / lost / undecided", "ece", "accuracy"];
  const rows = ranked.map((r) => [
    element("button", { type: "button", class: "link", onclick: () => { $(`filter-${key}`).value = r.id; show("leaderboard", true); } }, r.id),
    element("span", { class: "rank" }, `${r.rank} (${r.interval[0]}–${r.interval[1]})`, rankBar(r, ranked.length)), digits(r.value),
    r.id === ranking.against ? "–" : `${r.wins} / ${r.ties} / ${r.losses}`,
    r.gates ? `${r.gates.kept} / ${r.gates.lost} / ${r.gates.undecided}` : "", digits(r.ece), digits(r.accuracy, 3),
  ]);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Ranking of ${key}s` }, table(headings, rows, { class: "ranking" }));
}

function rankBar(row, count) {
  const [low, high] = row.interval;
  return element("span", { class: "rank-bar", "aria-hidden": "true" },
    element("i", { style: `margin-left: ${(100 * (low - 1)) / count}%; width: ${(100 * (high - low + 1)) / count}%` }));
}
