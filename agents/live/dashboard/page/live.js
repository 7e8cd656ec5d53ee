// What the page knows: the newest bars, fills, orders and lines of the log, each bounded; and how it hears of new ones.
const CAPS = { bars: 1500, fills: 500, orders: 200, lines: 500 };
const known = { stepMs: 60000, bars: [], fills: [], orders: new Map(), lines: [], beat: null };
const BEAT_SECONDS = 10; // without a word for so long the connection counts as lost
const $ = (id) => document.getElementById(id);

// --- the key: from the address, kept for this tab, sent in a header, and nowhere else
const KEPT = "cryptoenv-dashboard-key";
let key = "";
function findKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    sessionStorage.setItem(KEPT, given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  key = sessionStorage.getItem(KEPT) || "";
}
function askForKey(words) {
  if (words) $("enter-words").textContent = words;
  if (!$("enter").open) $("enter").showModal();
}
$("enter").addEventListener("close", () => {
  const given = $("enter-key").value.trim();
  $("enter-key").value = "";
  if (given) { sessionStorage.setItem(KEPT, given); key = given; connection.again(); }
});
window.addEventListener("hashchange", () => { findKey(); if ($("enter").open) $("enter").close(); connection.again(); });

// --- server-sent events by fetch, so that the key goes in a header; begun again where they ended
const connection = {
  state: "connecting", last: "", heard: 0, pause: 0.5, stop: null, wake: null,
  say(state) { this.state = state; showLink(); },
  again() { this.pause = 0.5; if (this.stop) this.stop.abort(); if (this.wake) this.wake(); },
  async follow() {
    for (;;) {
      if (document.hidden && this.away) { this.say("paused"); await this.rest(3600); continue; }
      if (!key) { this.say("no key"); askForKey(); await this.rest(3600); continue; }
      this.stop = new AbortController();
      try { await this.read(); } catch (error) { if (this.state === "live") this.say("lost"); }
      this.stop = null;
      if (this.state === "no key" || this.state === "paused") continue;
      this.say("lost");
      await this.rest(this.pause);
      this.pause = Math.min(2 * this.pause, 10);
    }
  },
  rest(seconds) {
    return new Promise((done) => { const timer = setTimeout(done, 1000 * seconds); this.wake = () => { clearTimeout(timer); done(); }; });
  },
  async read() {
    const headers = { Authorization: "Bearer " + key, Accept: "text/event-stream" };
    if (this.last) headers["Last-Event-ID"] = this.last;
    const answer = await fetch("events", { headers, cache: "no-store", signal: this.stop.signal });
    if (answer.status === 401) {
      sessionStorage.removeItem(KEPT); key = "";
      this.say("no key");
      askForKey("This key does not open the page: another process trades now, or the key was mistyped. Open the address that the terminal has printed, or give its key here.");
      return;
    }
    if (!answer.ok || !answer.body) throw new Error("status " + answer.status);
    this.pause = 0.5; this.heard = performance.now();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.heard = performance.now();
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) this.take(part);
    }
  },
  take(part) {
    let kind = "message", data = "", id = null;
    for (const line of part.split("\n")) {
      if (line.startsWith("event: ")) kind = line.slice(7);
      else if (line.startsWith("data: ")) data = line.slice(6);
      else if (line.startsWith("id: ")) id = line.slice(4);
    }
    if (!data) return;
    const told = JSON.parse(data);
    if (kind === "whole") takeWhole(told);
    else if (kind === "news") takeNews(told);
    else if (kind === "beat") { known.beat = told; showBeat(); }
    if (id !== null) this.last = id;
    if (this.state !== "live") this.say("live");
  },
};
setInterval(() => {
  if (connection.stop && connection.state === "live" && performance.now() - connection.heard > 1000 * BEAT_SECONDS) connection.stop.abort();
  showLink();
}, 1000);
window.addEventListener("online", () => connection.again());
document.addEventListener("visibilitychange", () => {
  clearTimeout(connection.leaving);
  if (document.hidden) connection.leaving = setTimeout(() => { connection.away = true; connection.say("paused"); connection.again(); }, 60000);
  else { const was = connection.away; connection.away = false; if (was) { connection.say("connecting"); connection.again(); } later(); }
});

// --- taking in
function takeWhole(told) {
  Object.assign(known, { stepMs: told.stepMs, bars: told.bars, fills: told.fills, lines: [], orders: new Map() });
  $("log").replaceChildren();
  takeNews({ orders: told.orders, lines: told.lines });
  later();
}
function takeNews(told) {
  for (const bar of told.bars || []) {
    const last = known.bars.length - 1;
    let at = last;
    while (at >= 0 && known.bars[at][0] > bar[0]) at--;
    if (at >= 0 && known.bars[at][0] === bar[0]) known.bars[at] = bar; else known.bars.splice(at + 1, 0, bar);
  }
  if (known.bars.length > CAPS.bars) known.bars.splice(0, known.bars.length - CAPS.bars);
  known.fills.push(...(told.fills || []));
  if (known.fills.length > CAPS.fills) known.fills.splice(0, known.fills.length - CAPS.fills);
  for (const order of told.orders || []) known.orders.set(order[0], order);
  for (const old of known.orders.keys()) { if (known.orders.size <= CAPS.orders) break; known.orders.delete(old); }
  if (told.orders && told.orders.length) showOrders();
  if (told.lines && told.lines.length) addLines(told.lines);
  if (told.bars || told.fills) later();
}
