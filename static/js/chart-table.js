// A figure's table: the same numbers, sortable by every column.

const MOST_ROWS = 300;

function compare(a, b) {
  if (a === null || b === null) return (a === null) - (b === null);
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function body(rows) {
  const made = document.createElement("tbody");
  for (const row of rows.slice(0, MOST_ROWS)) {
    const line = made.insertRow();
    for (const value of row) {
      const cell = line.insertCell();
      // Absent is a dash, never a zero.
      cell.textContent = value === null || value === "" ? "–" : typeof value === "number" ? value.toLocaleString("en-GB") : value;
      if (typeof value === "number") cell.className = "n";
    }
  }
  return made;
}

function shown(table) {
  const grid = document.createElement("table");
  const count = table.rows.length;
  const cut = count > MOST_ROWS ? ` The first ${MOST_ROWS} of ${count.toLocaleString("en-GB")} rows in this order; the CSV has all.` : "";
  grid.createCaption().textContent = `${table.note ?? ""}${cut}`;
  grid.caption.hidden = !grid.caption.textContent;
  const head = grid.createTHead().insertRow();
  const newestFirst = table.columns[0] === "time";
  let rows = newestFirst ? [...table.rows].reverse() : table.rows;
  grid.append(body(rows));
  table.columns.forEach((name, i) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (i === 0 && newestFirst) cell.ariaSort = "descending";
    const button = document.createElement("button");
    button.type = "button";
    button.className = "figure-sort";
    button.textContent = name;
    button.addEventListener("click", () => {
      const down = cell.ariaSort === "ascending";
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.ariaSort = down ? "descending" : "ascending";
      rows = [...table.rows].sort((a, b) => (down ? compare(b[i], a[i]) : compare(a[i], b[i])));
      grid.tBodies[0].replaceWith(body(rows));
    });
    cell.append(button);
    head.append(cell);
  });
  return grid;
}

export async function fillTable(twin, url) {
  const place = twin.querySelector(".figure-rows");
  place.textContent = place.textContent || "Loading the table…";
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(20_000) });
    const figure = await answer.json();
    if (!answer.ok) throw new Error(figure.error.message);
    place.replaceChildren(figure.table.rows.length ? shown(figure.table) : figure.empty ?? figure.summary);
  } catch (error) {
    place.textContent = `The table could not be loaded: ${error.message} Close and open it to try again.`;
  }
}
