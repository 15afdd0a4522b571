"use strict";
// Sorting, filtering and the subset chooser. Everything is in the page without this script.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.value === undefined) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const numbers = body.rows[0].cells[index].dataset.value !== undefined;
      const was = head.getAttribute("aria-sort");
      const up = was === "none" ? !numbers : was === "descending";
      const compare = (a, b) => {
        const x = value(a, index), y = value(b, index);
        if (x === null || y === null) return (x === null) - (y === null); // undefined figures stay last
        return (x < y ? -1 : x > y ? 1 : 0) * (up ? 1 : -1);
      };
      body.append(...[...body.rows].sort(compare));
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  });
}
for (const form of document.querySelectorAll("form.filters")) {
  form.hidden = false;
  const rows = [...document.getElementById(form.dataset.table).tBodies[0].rows];
  const status = document.getElementById(form.dataset.status);
  const apply = () => {
    let shown = 0;
    for (const row of rows) {
      const keep = [...form.querySelectorAll("select")].every((s) => !s.value || row.dataset[s.name] === s.value)
        && row.textContent.toLowerCase().includes(form.elements.text.value.trim().toLowerCase());
      row.hidden = !keep;
      shown += keep;
    }
    status.textContent = shown === rows.length ? `${shown} checkpoints` : `${shown} of ${rows.length} checkpoints`;
  };
  for (const select of form.querySelectorAll("select")) {
    const values = [...new Set(rows.map((row) => row.dataset[select.name]))];
    const numeric = values.every((v) => v === "" || !Number.isNaN(Number(v)));
    values.sort((a, b) => (numeric ? Number(a) - Number(b) : a < b ? -1 : 1));
    for (const v of values) {
      const option = document.createElement("option");
      option.value = v;
      option.textContent = v === "" ? "(none)" : v;
      if (v !== "") select.append(option);
    }
    if (select.options.length < 3) select.parentElement.hidden = true;
  }
  form.addEventListener("input", apply);
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
for (const chooser of document.querySelectorAll("select[data-chooser]")) {
  chooser.parentElement.parentElement.hidden = false;
  const parts = [...document.querySelectorAll(`[data-choice="${chooser.dataset.chooser}"]`)];
  const apply = () => parts.forEach((part) => { part.hidden = part.dataset.name !== chooser.value; });
  chooser.addEventListener("input", apply);
  chooser.addEventListener("change", apply);
  apply();
  const all = (open) => () => parts.forEach((part) => { if (open) part.hidden = false; });
  window.addEventListener("beforeprint", all(true));
  window.addEventListener("afterprint", apply);
}
// on paper nothing is folded away
const folded = [...document.querySelectorAll("details:not([open])")];
window.addEventListener("beforeprint", () => folded.forEach((part) => { part.dataset.was = part.open; part.open = true; }));
window.addEventListener("afterprint", () => folded.forEach((part) => { part.open = part.dataset.was === "true"; }));
