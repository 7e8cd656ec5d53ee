// How it is shown. Every text goes in as text: nothing that came in is ever read as HTML.
const number = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−"));
const signed = (value, digits = 2) => (value === null || value === undefined ? "–" : (value > 0 ? "+" : "") + number(value, digits));
const percent = (value, digits = 2) => (value === null || value === undefined ? "–" : signed(100 * value, digits) + "%");
const price = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: 7 }));
const amount = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: 6 }).replace("-", "−"));
const moment = (ms) => new Date(ms).toISOString().slice(0, 19).replace("T", " ");
const side = (value) => (value > 0 ? "gain" : value < 0 ? "loss" : "");
function made(tag, text, className) {
  const one = document.createElement(tag);
  if (text !== undefined) one.textContent = text;
  if (className) one.className = className;
  return one;
}

// --- header
const STATES = { starting: ["starting", ""], trading: ["trading", "ok"], halted: ["halted", "bad"], tripped: ["breaker tripped", "bad"], stopped: ["stopped", "watch"] };
const LINKS = { live: ["connected", "ok"], connecting: ["connecting", ""], lost: ["no connection", "bad"], paused: ["paused", ""], "no key": ["locked", "watch"] };
function pill(id, [text, state]) {
  const one = $(id), className = state ? "pill " + state : "pill";
  if (one.textContent !== text) one.textContent = text;
  if (one.className !== className) one.className = className;
}
function showLink() {
  const silent = Math.floor((performance.now() - connection.heard) / 1000), lost = connection.state !== "live";
  const [text, state] = LINKS[connection.state];
  pill("link", [connection.state === "lost" && connection.heard ? `${text} for ${silent} s` : text, state]);
  root.classList.toggle("stale", lost && known.beat !== null && connection.state !== "connecting");
  showActs();
}
function showActs() {
  const beat = known.beat, open = connection.state === "live" && beat !== null;
  const can = open && beat.state !== "stopped";
  $("halt").disabled = !can || beat.state === "halted";
  $("resume").disabled = !can || (beat.state !== "halted" && beat.state !== "tripped");
}
function notice(words) {
  if ($("notice").textContent !== words) $("notice").textContent = words;
  $("notice").hidden = !words;
}

// --- what has one value
let tiles = new Map();
function tile(label, value, note, noteClass) {
  let one = tiles.get(label);
  if (!one) {
    const box = made("div", undefined, "figure"), shown = made("dd"), below = made("dd", undefined, "note");
    box.append(made("dt", label), shown, below);
    $("figures").append(box);
    one = { shown, below };
    tiles.set(label, one);
  }
  one.shown.textContent = value;
  one.below.textContent = note || " ";
  one.below.className = noteClass ? "note " + noteClass : "note";
}
function showBeat() {
  const beat = known.beat, f = beat.figures, about = beat.account;
  document.title = `${(STATES[beat.state] || [beat.state])[0]} ${f.equity === undefined ? "" : number(f.equity)} ${about.name}`;
  $("name").textContent = about.name;
  $("place").textContent = about.place;
  pill("mode", about.mode === "live" ? ["live money", "watch"] : [about.replay ? "paper, replay" : "paper", ""]);
  pill("state", STATES[beat.state] || [beat.state, "watch"]);
  const words = { halted: "Nothing is traded: ", tripped: "Nothing is traded until it is released: ", stopped: "Trading has ended: " }[beat.state];
  notice(words ? words + beat.words : "");
  if (f.equity !== undefined) showFigures(f);
  showStatuses("health", beat.health);
  $("no-drift").hidden = beat.drift !== null;
  showDrift(beat.drift || []);
  const s = beat.slippage;
  $("slippage-words").textContent = s.fills ? `${s.fills.toLocaleString("en-US")} fills paid ${number(s.live)} bp against the bar's open on average; the simulator would have paid ${number(s.modelled)} bp${Math.abs(s.excess) < 0.005 ? "" : `: ${number(Math.abs(s.excess))} ${s.excess > 0 ? "more" : "less"} than modelled, in quote currency`}.` : "No fill yet.";
  const counts = Object.entries(beat.counts).map(([name, count]) => `${count.toLocaleString("en-US")} ${name}`);
  $("orders-words").textContent = counts.length ? counts.join(", ") + ", of all orders in the journal." : "No order yet.";
  $("foot").textContent = beat.lost ? `${beat.lost.toLocaleString("en-US")} messages came faster than the page's server could take them.` : "";
  showActs();
}
function showFigures(f) {
  const gain = f.firstEquity ? f.equity / f.firstEquity - 1 : null, today = f.dayEquity ? f.equity / f.dayEquity - 1 : null;
  tile("Equity", number(f.equity), `${percent(gain)} since start`, side(gain));
  tile("Today (UTC)", percent(today), f.dayEquity ? `from ${number(f.dayEquity)}` : "", "");
  tile("Position", f.quantity ? amount(f.quantity) : "flat", f.quantity ? `entered at ${price(f.entry)}` : "");
  tile("Since entry", f.quantity ? percent(f.sinceEntry) : "–", "price, by side", "");
  tile("Exposure", number(f.exposure), `target ${number(f.target)}`);
  tile("Price", price(f.close), `close of ${moment(f.closeMs).slice(5, 16)}`);
  tile("Drawdown", percent(f.drawdown ? -f.drawdown : 0), "below the peak");
  tile("Bars, orders", `${f.bars.toLocaleString("en-US")}, ${f.orders.toLocaleString("en-US")}`, "decided at, sent");
  const rows = [["Fees", f.fees], ["Slippage", f.slippagePaid], ["Funding", f.funding], ["Borrow", f.borrow]];
  rows.push(["All costs", rows.reduce((sum, row) => sum + (row[1] || 0), 0)]);
  const body = $("costs");
  if (body.children.length !== rows.length) body.replaceChildren(...rows.map(([name]) => { const row = made("tr"); const head = made("th", name); head.scope = "row"; row.append(head, made("td", "", "number")); return row; }));
  rows.forEach(([, value], at) => { body.children[at].children[1].textContent = number(value); });
}
const FEW = 4; // things watched for drift that are all shown; of more only those that are wrong, the others folded away
function showDrift(rows) {
  const wrong = rows.length > FEW ? rows.filter((row) => row[1] === "bad" || row[1] === "watch") : rows, rest = rows.filter((row) => !wrong.includes(row));
  showStatuses("drift", wrong);
  $("drift-more").hidden = !rest.length;
  const count = (state) => rest.filter((row) => row[1] === state).length;
  $("drift-rest").textContent = [[count("ok"), "in order"], [count("off"), "not known yet"]].filter(([many]) => many).map(([many, words]) => `${many} ${words}`).join(", ");
  showStatuses("drift-all", rest);
}
function showStatuses(id, rows) {
  const list = $(id);
  while (list.children.length > rows.length) list.lastChild.remove();
  while (list.children.length < rows.length) { const one = made("li"); one.append(made("b"), made("span")); list.append(one); }
  rows.forEach(([name, state, words], at) => {
    const one = list.children[at];
    if (one.className !== state) one.className = state;
    if (one.children[0].textContent !== name) one.children[0].textContent = name;
    if (one.children[1].textContent !== words) one.children[1].textContent = words;
    one.title = { ok: "in order", watch: "to be watched", bad: "wrong", off: "not known" }[state] || "";
  });
}

// --- orders, log
function showOrders() {
  const rows = [...known.orders.values()].reverse().map((order) => {
    const [client, at, , quantity, kind, target, state, phase, filled, average, feeQuote, feeBase] = order;
    const row = made("tr"), shown = state === "done" ? phase : state === "sent" ? "under way" : "in doubt";
    const cells = [[quantity > 0 ? "buy" : "sell", side(quantity)], [amount(Math.abs(quantity)), "number"], [amount(filled), "number"], [price(average), "number"],
      [amount(feeQuote) + (feeBase ? ` and ${amount(feeBase)} base` : ""), "number"], [target === null ? "–" : signed(target), "number"], [shown + (kind === "market" ? "" : `, ${kind}`), ""], [client, ""]];
    row.append(made("td", moment(at)), ...cells.map(([text, className]) => made("td", text, className)));
    return row;
  });
  $("orders").replaceChildren(...rows);
}
const RANK = { debug: 0, info: 1, warning: 2, error: 3, critical: 3 };
function isWanted(line) {
  const level = $("filter").level.value, text = $("filter").text.value.toLowerCase();
  return (!level || (RANK[line[1]] || 0) >= RANK[level]) && (!text || (line[3] + " " + line[2]).toLowerCase().includes(text));
}
function addLines(lines) {
  for (const line of lines) {
    const last = known.lines[known.lines.length - 1];
    if (last && last.line[3] === line[3] && last.line[2] === line[2] && last.line[1] === line[1]) {
      last.line = line; last.count += 1;
      last.times.textContent = ` (${last.count.toLocaleString("en-US")} times)`;
      last.when.textContent = moment(line[0]);
      continue;
    }
    const row = made("li"), when = made("time", moment(line[0])), text = made("span", line[3], "text"), times = made("span", "", "times"), source = made("span", line[2] + " ", "source");
    text.prepend(source); text.append(times);
    row.append(when, made("span", line[1], "level " + (line[1] in RANK ? line[1] : "info")), text);
    const one = { line, row, when, times, count: 1 };
    row.hidden = !isWanted(line);
    known.lines.push(one);
    $("log").prepend(row);
  }
  while (known.lines.length > CAPS.lines) known.lines.shift().row.remove();
  $("no-lines").hidden = known.lines.length > 0;
}
$("filter").addEventListener("input", () => { for (const one of known.lines) one.row.hidden = !isWanted(one.line); });
$("filter").addEventListener("submit", (event) => event.preventDefault());

// --- charts: drawn at most once a second, and only while somebody looks
let span = narrow() ? 100 : 300, due = false, drawnAt = -Infinity;
function later() {
  if (due || document.hidden) return;
  due = true;
  setTimeout(() => requestAnimationFrame(() => { due = false; drawnAt = performance.now(); draw(); }), Math.max(0, 1000 - (performance.now() - drawnAt)));
}
const dated = (more) => ({ type: "date", hoverformat: "%Y-%m-%d %H:%M", nticks: narrow() ? 4 : 10, ...more });
function draw() {
  const bars = span ? known.bars.slice(-span) : known.bars;
  if (!bars.length) return;
  const first = bars[0][0], fills = known.fills.filter((fill) => fill[0] >= first);
  drawPrice(bars, fills);
  drawEquity(bars);
  drawSlippage(fills);
  root.dataset.drawn = String((+root.dataset.drawn || 0) + 1);
}
function react(id, traces, more, revision) {
  const layout = layoutOf({}, more);
  layout.uirevision = revision;
  layout.showlegend = more.showlegend || false;
  if (more.hovermode) layout.hovermode = more.hovermode;
  layout.margin = { ...layout.margin, t: 8, b: 30 };
  return Plotly.react($(id), traces, layout, CONFIG);
}
function marks(fills, buys) {
  const chosen = fills.filter((fill) => (fill[2] > 0) === buys);
  return { type: "scatter", mode: "markers", name: buys ? "bought" : "sold", x: chosen.map((fill) => fill[0]), y: chosen.map((fill) => fill[1]),
    text: chosen.map((fill) => `${buys ? "bought" : "sold"} ${amount(Math.abs(fill[2]))} at ${price(fill[1])}`), hovertemplate: "%{text}<extra></extra>",
    marker: { symbol: buys ? "triangle-up" : "triangle-down", size: 11, color: colour(buys ? "main" : "second"), line: { width: 1, color: colour("page") } } };
}
function drawPrice(bars, fills) {
  const x = bars.map((bar) => bar[0]), at = (column) => bars.map((bar) => bar[column]);
  const held = bars.filter((bar) => bar[7] !== null);
  const traces = [
    { type: "candlestick", name: "price", x, open: at(1), high: at(2), low: at(3), close: at(4), showlegend: false,
      increasing: { line: { color: colour("gain"), width: 1 } }, decreasing: { line: { color: colour("loss"), width: 1 } } },
    { type: "scatter", mode: "lines", name: "exposure", x: held.map((bar) => bar[0]), y: held.map((bar) => bar[7]), yaxis: "y2", line: { shape: "hv", color: colour("main"), width: 1.2 },
      fill: "tozeroy", fillcolor: faint("main", 0.2), showlegend: false, hovertemplate: "exposure %{y:.2f}<extra></extra>" },
    marks(fills, true), marks(fills, false),
  ];
  react("price", traces, {
    xaxis: dated({ rangeslider: { visible: false }, anchor: "y2" }), yaxis: { domain: [0.24, 1], nticks: 8, title: { text: narrow() ? "" : "price" } },
    yaxis2: { domain: [0, 0.16], nticks: 3, title: { text: narrow() ? "" : "exposure" }, fixedrange: true, zeroline: true }, hovermode: "closest", showlegend: fills.length > 0,
  }, "price" + span);
}
function drawEquity(bars) {
  const held = bars.filter((bar) => bar[6] !== null);
  const trace = { type: "scatter", mode: held.length === 1 ? "markers" : "lines", name: "equity", x: held.map((bar) => bar[0] + known.stepMs), y: held.map((bar) => bar[6]),
    line: { color: colour("main"), width: 1.8 }, hovertemplate: "%{y:,.2f}<extra></extra>" };
  react("equity", [trace], { xaxis: dated({ range: [bars[0][0], bars[bars.length - 1][0] + known.stepMs].map((ms) => new Date(ms).toISOString().slice(0, 19)) }), yaxis: { nticks: 6, tickformat: ",.6~g", title: { text: narrow() ? "" : "equity" } } }, "equity" + span);
}
function drawSlippage(fills) {
  const worth = fills.filter((fill) => fill[3] !== null), x = worth.map((fill) => fill[0]);
  $("slippage").hidden = !worth.length;
  if (!worth.length) return;
  const dot = (name, column, symbol, shade) => ({ type: "scatter", mode: "markers", name, x, y: worth.map((fill) => (fill[column] === null ? null : 1e4 * fill[column])), hovertemplate: name + " %{y:.2f} bp<extra></extra>",
    marker: { symbol, size: symbol === "circle" ? 7 : 11, color: colour(shade), line: { width: symbol === "circle" ? 0 : 2, color: colour(shade) } } });
  const paid = worth.flatMap((fill) => [1e4 * fill[3], 1e4 * (fill[4] || 0)]), most = Math.max(...paid, 0), least = Math.min(...paid, 0), room = 0.15 * (most - least) || 1;
  react("slippage", [dot("modelled", 4, "circle-open", "held"), dot("live", 3, "circle", "second")], { xaxis: dated({}), yaxis: { nticks: 5, title: { text: "bp" }, range: [least < 0 ? least - room : 0, most + room] }, showlegend: true }, "slippage" + span);
}
function pressed() { for (const one of $("spans").children) one.setAttribute("aria-pressed", String(+one.dataset.bars === span)); }
$("spans").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  span = +button.dataset.bars;
  pressed();
  draw();
});
pressed();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
matchMedia("(max-width: 640px)").addEventListener("change", draw);

// --- halt and resume: each asked for once more, sent with the key in a header
let act = "";
function askFor(what) {
  act = what;
  const beat = known.beat, live = beat.account.mode === "live";
  $("ask-title").textContent = what === "halt" ? "Halt trading?" : "Resume trading?";
  $("ask-words").textContent = what === "halt"
    ? `No order is sent from now on, and open ones are taken back${live ? " at the exchange" : ""}. The position stays as it is. It stays halted, whatever restarts, until it is resumed.`
    : `${beat.words ? `It stands halted because: ${beat.words}. ` : ""}Breakers that have tripped are released, and the next signal is traded again${live ? ", with money" : ""}.`;
  $("ask-label").hidden = what !== "halt";
  $("ask-reason").value = "";
  $("ask-failed").hidden = true;
  $("ask-yes").textContent = what === "halt" ? "Halt trading" : "Resume trading";
  $("ask-yes").className = what === "halt" ? "danger" : "";
  $("ask-yes").disabled = false;
  $("ask").showModal();
  $("ask-no").focus();
}
async function send() {
  $("ask-yes").disabled = true;
  try {
    const answer = await fetch(act, { method: "POST", cache: "no-store", headers: { Authorization: "Bearer " + key, "Content-Type": "application/json" },
      body: JSON.stringify(act === "halt" ? { reason: $("ask-reason").value } : {}), signal: AbortSignal.timeout(15000) });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(typeof told.detail === "string" ? told.detail : `the server answered ${answer.status}`);
    if (told.failed && told.failed.length) throw new Error(`Trading is halted, but these could not be taken back: ${told.failed.join("; ")}`);
    $("ask").close();
  } catch (error) {
    $("ask-failed").textContent = error.message === "Failed to fetch" || error.name === "TimeoutError" ? "No answer: the trading process cannot be reached. `cryptoenv trade halt` in a terminal does without this page." : error.message;
    $("ask-failed").hidden = false;
    $("ask-yes").disabled = false;
  }
}
$("halt").addEventListener("click", () => askFor("halt"));
$("resume").addEventListener("click", () => askFor("resume"));
$("ask-yes").addEventListener("click", send);
$("ask-reason").addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });

window.live = { known, connection, draw, addLines };
findKey();
connection.follow();
