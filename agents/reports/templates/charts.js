// How the charts are drawn: words, colours and layout, and per kind of chart its traces in a range.
const root = document.documentElement;
const DAY = 86400000;
const narrow = () => window.innerWidth < 640;

// --- words
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const time = (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " ");
const short = (value, digits = 6) => Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumSignificantDigits: digits });
function wrapped(text, width) {
  const lines = [""];
  for (const word of String(text).split(" ")) {
    if (lines[lines.length - 1].length && lines[lines.length - 1].length + word.length > width) lines.push("");
    lines[lines.length - 1] += (lines[lines.length - 1] ? " " : "") + word;
  }
  return lines.map((line) => escaped(line.length > 2 * width ? line.slice(0, 2 * width) + "…" : line)).join("<br>");
}
function styled(column, value) {
  if (Number.isNaN(value)) return "none";
  const places = /\.(\d+)f/.exec(column.spec);
  const scaled = value * column.scale;
  const options = places ? { minimumFractionDigits: +places[1], maximumFractionDigits: +places[1] } : { maximumSignificantDigits: 8 };
  let text = Math.abs(scaled).toLocaleString("en-US", options);
  if (Number(text.replace(/,/g, "")) !== 0) text = (scaled < 0 ? "−" : column.spec.startsWith("+") ? "+" : "") + text;
  return text + column.unit;
}

// --- colours and layout
const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
const faint = (name, share) => {
  const hex = colour(name);
  return `rgba(${parseInt(hex.slice(1, 3), 16)},${parseInt(hex.slice(3, 5), 16)},${parseInt(hex.slice(5, 7), 16)},${share})`;
};
function layoutOf(spec, more) {
  const text = colour("text"), axis = { gridcolor: colour("grid"), linecolor: colour("rule"), zerolinecolor: colour("rule"),
    tickfont: { color: colour("quiet") }, automargin: true, title: { font: { color: colour("quiet"), size: 12 } } };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, separators: ".,", dragmode: "zoom",
    font: { color: text, size: narrow() ? 11 : 13, family: getComputedStyle(document.body).fontFamily },
    margin: { l: narrow() ? 42 : 62, r: narrow() ? 8 : 18, t: 10, b: 44 }, hovermode: "x unified",
    hoverlabel: { bgcolor: colour("page"), bordercolor: colour("rule"), font: { color: text } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("link") },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { color: text } }, showlegend: false,
  };
  for (const [key, value] of Object.entries(more)) {
    layout[key] = /^[xy]axis/.test(key) ? { ...axis, ...value, title: { ...axis.title, ...(value.title || {}) } } : value;
  }
  return layout;
}
const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset", showTips: false };

// --- what is in view
function lowerBound(values, wanted) {
  let low = 0, high = values.length;
  while (low < high) { const middle = (low + high) >> 1; if (values[middle] < wanted) low = middle + 1; else high = middle; }
  return low;
}
function inView(x, y, range, columns) {
  let first = 0, last = x.length;
  if (range) { first = Math.max(lowerBound(x, range[0]) - 1, 0); last = Math.min(lowerBound(x, range[1]) + 1, x.length); }
  const count = last - first;
  if (count <= 4 * columns) return [Array.from(x.subarray(first, last)), Array.from(y.subarray(first, last))];
  const xs = [], ys = [], width = Math.ceil(count / columns);
  for (let i = first; i < last; i += width) {
    const end = Math.min(i + width, last);
    let low = i, high = i;
    for (let j = i; j < end; j++) { if (y[j] < y[low]) low = j; if (y[j] > y[high]) high = j; }
    for (const j of [...new Set([i, low, high, end - 1])].sort((a, b) => a - b)) { xs.push(x[j]); ys.push(y[j]); }
  }
  return [xs, ys];
}

// --- kinds of charts: each gives traces and layout for a range (null: all)
const KINDS = {
  lines(spec, range, width) {
    const scale = spec.percent ? 100 : 1, several = spec.lines.length > 1;
    const traces = spec.lines.map((line) => {
      const [x, y] = inView(numbers(line.x), numbers(line.y), spec.timed ? range : null, Math.max(300, width));
      return { type: "scatter", mode: y.length === 1 ? "markers" : spec.timed || y.length > 40 ? "lines" : "lines+markers", x, y: scale === 1 ? y : y.map((v) => v * scale),
        name: wrapped(line.name, 40), line: { color: colour(line.colour), width: line.dashed ? 1.4 : 1.8, dash: line.dashed ? "dash" : "solid", shape: line.stepped ? "hv" : "linear" },
        visible: line.hidden ? "legendonly" : true, fill: line.filled ? "tozeroy" : "none", fillcolor: faint(line.colour, 0.16),
        hovertemplate: spec.percent ? "%{y:.2f}%" : "%{y:,.6~g}" };
    });
    const layout = layoutOf(spec, {
      xaxis: spec.timed ? { type: "date", ...(range ? { range: range.map((ms) => new Date(ms).toISOString().slice(0, 23)) } : {}), hoverformat: "%Y-%m-%d %H:%M" } : { title: { text: escaped(spec.xTitle) } },
      yaxis: { title: { text: escaped(spec.yTitle) }, type: spec.log ? "log" : "linear", ticksuffix: spec.percent ? "%" : "", nticks: 7, ...(spec.log ? { minor: { nticks: 2 }, tickformat: ",.4~r" } : {}) },
    });
    layout.shapes = spec.marks.map((y) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: y * scale, y1: y * scale, line: { color: colour("quiet"), width: 1, dash: "dot" } }));
    layout.showlegend = several;
    return { traces, layout };
  },
  bars(spec) {
    const scale = spec.percent ? 100 : 1, many = spec.series.length > 1, long = spec.categories.some((name) => name.length > 12);
    const labels = spec.categories.map((name) => (long ? wrapped(name, narrow() ? 14 : 24) : escaped(name)));
    const flat = long && spec.categories.length > (narrow() ? 3 : 6);
    const traces = spec.series.map((one) => {
      const y = one.y.map((v) => (v === null ? null : v * scale));
      const fill = spec.signed ? y.map((v) => colour(v < 0 ? "loss" : "gain")) : colour(one.colour);
      return { type: "bar", name: escaped(one.name), [flat ? "y" : "x"]: labels, [flat ? "x" : "y"]: y, orientation: flat ? "h" : "v", marker: { color: fill },
        hovertemplate: flat ? (spec.percent ? "%{x:.2f}%" : "%{x:,.6~g}") : (spec.percent ? "%{y:.2f}%" : "%{y:,.6~g}") };
    });
    const words = { type: "category", title: { text: escaped(spec.xTitle) }, ...(flat ? { autorange: "reversed" } : { nticks: narrow() ? 6 : 24 }) };
    const values = { title: { text: escaped(spec.yTitle) }, ticksuffix: spec.percent ? "%" : "", nticks: 7 };
    const layout = layoutOf(spec, flat ? { xaxis: values, yaxis: { ...words, title: {} } } : { xaxis: words, yaxis: values });
    Object.assign(layout, { barmode: spec.grouped ? "group" : "relative", bargap: 0.18, showlegend: many, hovermode: flat ? "y unified" : "x unified" });
    return { traces, layout };
  },
  heat(spec) {
    const z = spec.values.map((row) => row.map((v) => (v === null ? null : 100 * v)));
    const largest = Math.max(1e-12, ...z.flat().filter((v) => v !== null).map(Math.abs));
    const digits = largest >= 100 ? 0 : largest >= 10 ? 1 : largest >= 1 ? 2 : 3;
    const shown = z.map((row) => row.map((v) => (v === null ? "" : (v < 0 ? "−" : v > 0 ? "+" : "") + Math.abs(v).toFixed(digits))));
    const traces = [{ type: "heatmap", x: spec.columns.map(escaped), y: spec.rows.map(escaped), z, zmin: -largest, zmax: largest, text: shown, texttemplate: narrow() ? "" : "%{text}",
      textfont: { size: 12, color: colour("text") }, colorscale: [[0, faint("loss", 0.75)], [0.5, colour("page")], [1, faint("gain", 0.75)]], showscale: narrow(), xgap: 2, ygap: 2, hoverongaps: false,
      colorbar: { thickness: 10, ticksuffix: "%", tickfont: { color: colour("quiet") } }, hovertemplate: "%{y} %{x}: %{z:.3f}%<extra></extra>" }];
    const layout = layoutOf(spec, { xaxis: { type: "category", side: "top", showgrid: false }, yaxis: { type: "category", autorange: "reversed", showgrid: false } });
    Object.assign(layout, { hovermode: "closest", height: 90 + 34 * spec.rows.length, margin: { ...layout.margin, t: 34, b: 14 } });
    return { traces, layout };
  },
  intervals(spec) {
    const scale = spec.percent ? 100 : 1, at = (values) => values.map((v) => (v === null ? null : v * scale));
    const x = at(spec.values), low = at(spec.low), high = at(spec.high);
    const traces = [{ type: "scatter", mode: "markers", x, y: spec.names.map((name) => wrapped(name, narrow() ? 16 : 34)), marker: { size: 9, color: colour("main") },
      error_x: { type: "data", symmetric: false, color: colour("main"), thickness: 1.6, array: x.map((v, i) => (high[i] === null ? 0 : high[i] - v)), arrayminus: x.map((v, i) => (low[i] === null ? 0 : v - low[i])) },
      customdata: x.map((v, i) => [low[i], high[i]]), hovertemplate: "%{x:.4g}, 95% %{customdata[0]:.4g} to %{customdata[1]:.4g}<extra></extra>" }];
    const layout = layoutOf(spec, { xaxis: { title: { text: escaped(spec.xTitle) }, ticksuffix: spec.percent ? "%" : "", nticks: narrow() ? 5 : 9 }, yaxis: { type: "category", autorange: "reversed" } });
    layout.hovermode = "closest";
    layout.shapes = [{ type: "line", yref: "paper", y0: 0, y1: 1, x0: 0, x1: 0, line: { color: colour("quiet"), width: 1, dash: "dot" } }];
    layout.height = Math.max(200, 90 + 40 * spec.names.length);
    return { traces, layout };
  },
  candles(spec, range, width, state) {
    const all = extentOf(spec), view = range || all, most = Math.min(420, Math.max(110, Math.floor(width / 3)));
    let chosen = spec.blocks[0];
    for (const block of spec.blocks.slice(1)) {
      if (block.start <= view[0] && block.start + block.n * block.step >= view[1]) chosen = block;
    }
    const bars = candlesOf(chosen);
    const first = Math.max(0, Math.floor((view[0] - bars.start) / bars.step)), last = Math.min(bars.n, Math.ceil((view[1] - bars.start) / bars.step) + 1);
    const group = Math.max(1, Math.ceil((last - first) / most)), x = [], o = [], h = [], l = [], c = [];
    for (let i = first; i < last; i += group) {
      const end = Math.min(i + group, last);
      let high = -Infinity, low = Infinity;
      for (let j = i; j < end; j++) { if (bars.h[j] > high) high = bars.h[j]; if (bars.l[j] < low) low = bars.l[j]; }
      x.push(bars.start + i * bars.step); o.push(bars.o[i]); h.push(high); l.push(low); c.push(bars.c[end - 1]);
    }
    const traces = [{ type: "candlestick", name: "price", x, open: o, high: h, low: l, close: c, increasing: { line: { color: colour("gain"), width: 1 } }, decreasing: { line: { color: colour("loss"), width: 1 } }, showlegend: false }];
    const t = spec.trades, entry = numbers(t.entry_ms), exit = numbers(t.exit_ms), side = numbers(t.side.codes), long = t.side.words.indexOf("long");
    const seen = [];
    for (let i = 0; i < t.n; i++) if (exit[i] >= view[0] && entry[i] <= view[1]) seen.push(i);
    const px = [], py = [];
    for (const i of seen) { px.push(entry[i], exit[i]); py.push(side[i] === long ? 1 : -1, 0); }
    const [sx, sy] = inView(Float64Array.from(px), Float64Array.from(py), null, Math.max(300, width));
    traces.push({ type: "scatter", mode: "lines", name: "position", x: sx, y: sy, yaxis: "y2", line: { shape: "hv", color: colour("main"), width: 1.2 }, fill: "tozeroy", fillcolor: faint("main", 0.2), showlegend: false, hoverinfo: "skip" });
    const fills = seen.length <= 250;
    if (fills && seen.length) {
      const ep = numbers(t.entry_price), xp = numbers(t.exit_price), result = numbers(t.return), how = (i) => wordAt(t.exit_kind, i);
      const mark = (rows, name, xs, ys, symbol, shade, words) => rows.length && traces.push({ type: "scatter", mode: "markers", name, x: rows.map((i) => xs[i]), y: rows.map((i) => ys[i]), text: rows.map(words), hovertemplate: "%{text}<extra></extra>",
        marker: { symbol, size: symbol.startsWith("triangle") ? 12 : 9, color: colour(shade), line: { width: symbol.includes("open") ? 2 : 1, color: colour(symbol.includes("open") ? shade : "page") } } });
      const longs = seen.filter((i) => side[i] === long), shorts = seen.filter((i) => side[i] !== long);
      const kinds = { order: ["exit", "x-thin-open", "text"], "stop loss": ["stop", "square-x", "loss"], "take profit": ["take profit", "star", "gain"], liquidation: ["liquidation", "cross", "loss"], "still open": ["open at the end", "circle-open", "quiet"] };
      for (const [kind, [name, symbol, shade]] of Object.entries(kinds)) {
        mark(seen.filter((i) => how(i) === kind), name, exit, xp, symbol, shade, (i) => `${name} at ${short(xp[i])}, ${(100 * result[i]).toFixed(2)}%`);
      }
      mark(longs, "enter long", entry, ep, "triangle-up", "main", (i) => `long at ${short(ep[i])}`);
      mark(shorts, "enter short", entry, ep, "triangle-down", "second", (i) => `short at ${short(ep[i])}`);
      if (seen.length <= 60) {
        for (const [id, name, shade] of [[t.stop, "stop level", "loss"], [t.profit, "take-profit level", "gain"]]) {
          const levels = numbers(id);
          if (!levels || !seen.some((i) => !Number.isNaN(levels[i]))) continue;
          const lx = [], ly = [];
          for (const i of seen) { if (!Number.isNaN(levels[i])) { lx.push(entry[i], exit[i] + spec.barMs, null); ly.push(levels[i], levels[i], null); } }
          traces.push({ type: "scatter", mode: "lines", name, x: lx, y: ly, line: { color: colour(shade), width: 1.3, dash: "dash" }, hoverinfo: "skip" });
        }
      }
    }
    const each = bars.step * group / spec.barMs;
    state.hint = state.trade === null || state.trade === undefined
      ? `${x.length.toLocaleString("en-US")} candles of ${each === 1 ? "one bar" : each.toLocaleString("en-US") + " bars"} each; ${seen.length.toLocaleString("en-US")} trade${seen.length === 1 ? "" : "s"} in view` + (fills ? "." : ": zoom in to see fills and stops.") : state.hint;
    const layout = layoutOf(spec, {
      xaxis: { type: "date", range: view.map((ms) => new Date(ms).toISOString().slice(0, 23)), rangeslider: { visible: false }, anchor: "y2", hoverformat: "%Y-%m-%d %H:%M" },
      yaxis: { domain: [0.17, 1], title: { text: "price" }, nticks: 8 }, yaxis2: { domain: [0, 0.12], range: [-1.2, 1.2], tickvals: [-1, 0, 1], ticktext: ["short", "flat", "long"], fixedrange: true, showgrid: false },
    });
    Object.assign(layout, { hovermode: "closest", showlegend: fills && seen.length > 0 });
    return { traces, layout };
  },
};
function extentOf(spec) {
  if (spec.extent) return spec.extent;
  if (spec.kind === "candles") {
    const block = spec.blocks[0];
    spec.extent = [block.start, block.start + block.n * block.step];
  } else {
    let low = Infinity, high = -Infinity;
    for (const line of spec.lines) { const x = numbers(line.x); if (x.length) { low = Math.min(low, x[0]); high = Math.max(high, x[x.length - 1]); } }
    spec.extent = [low, high];
  }
  return spec.extent;
}

// --- drawing, zooming
const charts = new Map();
function drawn(place) {
  const chart = charts.get(place);
  const { traces, layout } = KINDS[chart.spec.kind](chart.spec, chart.range, chart.element.clientWidth, chart);
  if (chart.hintPlace) chart.hintPlace.textContent = chart.hint || "";
  return Plotly.react(chart.element, traces, layout, CONFIG);
}
const toMs = (value) => (typeof value === "number" ? value : Date.parse(String(value).replace(" ", "T").replace(/Z?$/, "Z")));
function zoomed(place, range, keep) {
  const chart = charts.get(place);
  if (!keep) chart.trade = null;
  const all = extentOf(chart.spec);
  chart.range = range && (range[0] > all[0] || range[1] < all[1]) ? [Math.max(range[0], all[0]), Math.min(range[1], all[1])] : null;
  if (chart.range && chart.range[1] <= chart.range[0]) chart.range = null;
  if (chart.tools) {
    const days = chart.range ? Math.round((chart.range[1] - chart.range[0]) / DAY) : 0;
    for (const button of chart.tools.querySelectorAll("[data-days]")) button.setAttribute("aria-pressed", String(+button.dataset.days === days));
  }
  return drawn(place);
}
function toTrade(place, number) {
  const chart = charts.get(place), t = chart.spec.trades;
  if (!t.n) return null;
  const i = Math.min(Math.max(number, 0), t.n - 1), entry = numbers(t.entry_ms)[i], exit = numbers(t.exit_ms)[i] + chart.spec.barMs;
  const around = Math.max(20 * chart.spec.barMs, 0.4 * (exit - entry));
  chart.trade = i;
  chart.hint = `Trade ${(i + 1).toLocaleString("en-US")} of ${t.n.toLocaleString("en-US")}: ${wordAt(t.side, i)} from ${time(entry)} at ${short(numbers(t.entry_price)[i])} to ${time(exit - chart.spec.barMs)} at ${short(numbers(t.exit_price)[i])}, ${(100 * numbers(t.return)[i]).toFixed(2)}%, closed by ${wordAt(t.exit_kind, i)}.`;
  return zoomed(place, [entry - around, exit + around], true);
}
function tools(place) {
  const chart = charts.get(place);
  chart.tools = document.querySelector(`.tools[data-for="${CSS.escape(place)}"]`);
  chart.hintPlace = chart.element.parentElement.querySelector(".hint");
  if (!chart.tools) return;
  const all = extentOf(chart.spec);
  for (const button of chart.tools.querySelectorAll("[data-days]")) {
    button.hidden = +button.dataset.days * DAY > all[1] - all[0];
    button.setAttribute("aria-pressed", String(button.dataset.days === "0"));
  }
  chart.tools.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const range = chart.range || all;
    if (button.dataset.days) {
      const days = +button.dataset.days;
      zoomed(place, days ? [Math.max(all[0], range[1] - days * DAY), Math.max(all[0], range[1] - days * DAY) + days * DAY] : null);
    } else if (button.dataset.move) {
      const width = range[1] - range[0], by = +button.dataset.move * width / 2;
      const start = Math.min(Math.max(range[0] + by, all[0]), all[1] - width);
      zoomed(place, chart.range ? [start, start + width] : null);
    } else {
      const t = chart.spec.trades, step = +button.dataset.trade, entries = numbers(t.entry_ms);
      let next = chart.trade === null || chart.trade === undefined ? lowerBound(entries, range[0]) - (step < 0 ? 1 : 0) : chart.trade + step;
      toTrade(place, next);
    }
  });
  chart.element.on("plotly_relayout", (event) => {
    if (event["xaxis.range[0]"] !== undefined) zoomed(place, [toMs(event["xaxis.range[0]"]), toMs(event["xaxis.range[1]"])]);
    else if (event["xaxis.range"]) zoomed(place, event["xaxis.range"].map(toMs));
    else if (event["xaxis.autorange"]) zoomed(place, null);
  });
}
