// The table of trades: sorted, filtered, page by page, saved as CSV; a trade is shown among its candles.
function tradesTable(element, spec) {
  const PAGE = 25;
  const columns = spec.columns.map((column) => ({ ...column, at: column.kind === "text" ? (i) => wordAt(column, i) : ((values) => (i) => values[i])(numbers(column.values)) }));
  const form = element.querySelector("form"), head = element.querySelector("thead tr"), rows = element.querySelector("tbody");
  const count = element.querySelector(".count"), page = element.querySelector(".page");
  const [before, after] = ["before", "after"].map((name) => element.querySelector(`button[name=${name}]`));
  const byName = Object.fromEntries(columns.map((column) => [column.name, column]));
  const chartNames = (i) => wordAt(spec.chart, i);
  const state = { sorted: null, down: false, page: 0, shown: [] };
  for (const name of ["side", "exit_kind"]) {
    for (const word of byName[name] ? byName[name].words : []) form.elements[name].add(new Option(word, word));
  }
  for (const column of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    if (column.kind === "number") cell.className = "number";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = column.label;
    button.addEventListener("click", () => {
      state.down = state.sorted === column.name ? !state.down : column.kind === "number";
      state.sorted = column.name;
      filtered();
    });
    cell.append(button);
    cell.dataset.name = column.name;
    head.append(cell);
  }
  const last = document.createElement("th");
  last.scope = "col";
  last.textContent = "Chart";
  head.append(last);
  const shownAs = (column, i) => { const value = column.at(i); return column.kind === "time" ? time(value) : column.kind === "text" ? value : styled(column, value); };
  function filtered() {
    const query = form.elements.text.value.trim().toLowerCase(), side = form.elements.side.value, how = form.elements.exit_kind.value, outcome = form.elements.outcome.value;
    const gains = byName.gain ? numbers(byName.gain.values) : null;
    state.shown = [];
    for (let i = 0; i < spec.n; i++) {
      if (side && byName.side.at(i) !== side) continue;
      if (how && byName.exit_kind.at(i) !== how) continue;
      if (outcome && gains && (outcome === "gain") !== gains[i] > 0) continue;
      if (query && !columns.some((column) => shownAs(column, i).toLowerCase().includes(query))) continue;
      state.shown.push(i);
    }
    if (state.sorted) {
      const at = byName[state.sorted].at, sign = state.down ? -1 : 1;
      state.shown.sort((a, b) => { const x = at(a), y = at(b); return x < y ? -sign : x > y ? sign : a - b; });
    }
    for (const cell of head.querySelectorAll("[data-name]")) {
      if (cell.dataset.name === state.sorted) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
    state.page = 0;
    listed();
  }
  function listed() {
    const pages = Math.max(1, Math.ceil(state.shown.length / PAGE));
    rows.textContent = "";
    for (const i of state.shown.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
      const row = document.createElement("tr");
      columns.forEach((column, place) => {
        const cell = document.createElement(place ? "td" : "th");
        if (!place) cell.scope = "row";
        cell.className = column.kind === "number" ? "number" : "text";
        cell.textContent = shownAs(column, i);
        if (column.name === "gain" || column.name === "return") cell.classList.add(column.at(i) > 0 ? "gain" : "loss");
        if (column.kind === "number") cell.dataset.value = String(column.at(i));
        row.append(cell);
      });
      const cell = document.createElement("td");
      const chart = element.dataset.trades.replace(/trades-trades$/, "candles-" + chartNames(i));
      if (chartNames(i) && charts.has(chart)) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = "Show";
        button.setAttribute("aria-label", `Show trade ${byName.number ? byName.number.at(i) : i + 1} among its candles`);
        button.addEventListener("click", () => {
          const entries = numbers(charts.get(chart).spec.trades.entry_ms);
          document.getElementById(chart).scrollIntoView({ block: "start" });
          toTrade(chart, lowerBound(entries, numbers(spec.entry)[i]));
        });
        cell.append(button);
      }
      row.append(cell);
      rows.append(row);
    }
    const some = spec.whole > spec.n ? ` The page has the ${spec.n.toLocaleString("en-US")} of ${spec.whole.toLocaleString("en-US")} that moved most; trades.parquet has all.` : "";
    count.textContent = `${state.shown.length.toLocaleString("en-US")} of ${spec.n.toLocaleString("en-US")} trades.${some}`;
    page.textContent = `Page ${state.page + 1} of ${pages}`;
    before.disabled = state.page === 0;
    after.disabled = state.page >= pages - 1;
  }
  function csv() {
    const quoted = (text) => (/[",\n]/.test(text) || /^[=+@\-]/.test(text) && Number.isNaN(+text) ? `"${text.replace(/"/g, '""')}"` : text);
    const lines = [columns.map((column) => quoted(column.name.replace(/_ms$/, "_time"))).join(",")];
    for (const i of state.shown) lines.push(columns.map((column) => { const value = column.at(i); return column.kind === "time" ? new Date(value).toISOString() : column.kind === "text" ? quoted(value) : Number.isNaN(value) ? "" : String(value); }).join(","));
    return lines.join("\n") + "\n";
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filtered);
  form.elements.csv.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "trades.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  });
  before.addEventListener("click", () => { state.page--; listed(); });
  after.addEventListener("click", () => { state.page++; listed(); });
  filtered();
  element.csv = csv;
}
