// Sortable columns, and folded parts opened for print. Every page can be read without it.
(function () {
  "use strict";

  const announcer = document.getElementById("announcer");

  function valueOf(row, column, kind) {
    const cell = row.cells[column];
    const text = cell.dataset.value !== undefined ? cell.dataset.value : cell.textContent.trim();
    if (kind === "text") return text;
    return text === "" ? null : Number(text);
  }

  function compare(a, b, kind, sign) {
    if (a === null || b === null) return (a === null) - (b === null); // what has no value stays last
    return sign * (kind === "text" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  }

  // Each body by itself: runs that do not compete stay below all others, whatever the column.
  function sort(table, head, name) {
    const column = head.cellIndex;
    const kind = head.dataset.sort;
    const first = kind === "text" ? "ascending" : "descending";
    const order = { ascending: "descending", descending: "ascending" }[head.getAttribute("aria-sort")] || first;
    const sign = order === "ascending" ? 1 : -1;
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows).filter((row) => !row.classList.contains("group"));
      const keyed = rows.map((row) => [valueOf(row, column, kind), row]);
      keyed.sort((a, b) => compare(a[0], b[0], kind, sign));
      body.append(...keyed.map((pair) => pair[1]));
    }
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    announcer.textContent = "Sorted by " + name + ", " + order + ".";
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
      const button = document.createElement("button");
      const name = head.textContent.trim();
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, head, name));
    }
  }

  // A table that fits needs no stop for the keyboard.
  function stops() {
    for (const part of document.querySelectorAll(".scroll")) {
      if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
      else part.removeAttribute("tabindex");
    }
  }
  stops();
  addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true); // what was folded has had no width

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const part of opened) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
