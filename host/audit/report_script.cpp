// The script of a report: a click or Enter on a column's head sorts by it, up, down and as it was.
#include "host/audit/report_page.h"

namespace quarry::report {

const char* const kScript = R"js(
"use strict";
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0], heads = table.tHead.rows[0].cells;
  const before = Array.from(body.rows);
  if (before.length < 2) continue;
  const key = (row, at) => {
    const cell = row.cells[at];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.classList.contains("none") ? null : cell.textContent;
  };
  const compare = (a, b) => typeof a === "number" ? a - b : a.localeCompare(b, "en", {numeric: true});
  for (let at = 0; at < heads.length; at++) {
    const head = heads[at], button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = {none: "ascending", ascending: "descending", descending: "none"}[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", next);
      const rows = before.slice();
      const sign = next === "descending" ? -1 : 1;
      if (next !== "none") rows.sort((x, y) => {
        const a = key(x, at), b = key(y, at);
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * compare(a, b);
      });
      body.append(...rows);
    });
  }
}
addEventListener("beforeprint", () => { for (const d of document.querySelectorAll("details:not([open]):not(.def)")) { d.dataset.shut = ""; d.open = true; } });
addEventListener("afterprint", () => { for (const d of document.querySelectorAll("details[data-shut]")) { d.open = false; delete d.dataset.shut; } });
)js";

const char* const kScriptHash = "sha256-UMJj8F3weTg/RhTRzRIVAr6+Adct8eUQuxlVLr+LZn4=";

}  // namespace quarry::report
