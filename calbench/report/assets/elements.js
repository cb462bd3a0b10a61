// Elements are built from text, never from markup: names come from files that others wrote.
const data = JSON.parse(document.getElementById("data").textContent);
for (const cell of data.cells) for (const key of ["arms", "bins"]) cell[key] = cell[key].map((place) => data.shared[place]);
const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

const digits = (value, n = 4) => (typeof value === "number" ? value.toFixed(n) : value === null || value === undefined ? "" : String(value));
const signed = (value, n = 4) => (typeof value === "number" && value >= 0 ? "+" : "") + digits(value, n);
const interval = (e, show = digits) => (e ? ` [${show(e[1])}, ${show(e[2])}]` : "");

function table(headings, rows, attributes = {}) {
  return element("table", attributes,
    element("thead", {}, element("tr", {}, headings.map((h, i) => element("th", { scope: "col", class: i ? "number" : null }, h)))),
    element("tbody", {}, rows.map((row) => element("tr", {}, row.map((cell, i) =>
      i ? element("td", { class: "number" }, cell) : element("th", { scope: "row" }, cell))))));
}

const json = (value) => element("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));
