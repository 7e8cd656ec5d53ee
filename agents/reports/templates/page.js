// Unpacks the data of a report and draws it. Everything comes from the page itself; nothing is loaded.
(async () => {
  const began = performance.now();
  const say = (text) => {
    const place = document.getElementById("status");
    place.textContent = text;
    place.hidden = false;
    root.dataset.drawn = "failed";
  };
  if (narrow()) document.querySelectorAll("details.contents").forEach((one) => { one.open = false; });
  if (!("DecompressionStream" in window)) {
    say("This browser cannot unpack the charts: it lacks DecompressionStream (Chrome 80, Firefox 113, Safari 16.4 or later " +
      "have it). The figures and tables are whole without them.");
    return;
  }
  await unpack();
  const library = new TextDecoder().decode(await inflated("library"));
  const script = document.createElement("script");
  script.textContent = library;
  document.head.append(script);
  if (!window.Plotly) { say("The library that draws the charts does not run in this browser. The figures and tables are whole without it."); return; }
  const frame = () => new Promise((done) => { const t = setTimeout(done, 30); requestAnimationFrame(() => { clearTimeout(t); done(); }); });
  for (const element of document.querySelectorAll("[data-chart]")) {
    const place = element.dataset.chart;
    charts.set(place, { element, spec: content.charts[place], range: null, trade: null });
    await drawn(place);
    tools(place);
    if (charts.get(place).hintPlace) charts.get(place).hintPlace.textContent = charts.get(place).hint || "";
    if (charts.size % 3 === 0) await frame();
  }
  for (const element of document.querySelectorAll("[data-trades]")) tradesTable(element, content.trades[element.dataset.trades]);
  const again = () => { for (const place of charts.keys()) drawn(place); };
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("beforeprint", () => { root.dataset.theme = "light"; again(); });
  window.addEventListener("afterprint", () => { delete root.dataset.theme; again(); });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if ((width < 640) !== narrow()) again(); width = window.innerWidth; });
  window.report = { zoomed, toTrade, charts };
  root.dataset.milliseconds = String(Math.round(performance.now() - began));
  root.dataset.drawn = "true";
})().catch((error) => {
  const place = document.getElementById("status");
  place.textContent = "The charts could not be drawn: " + error.message;
  place.hidden = false;
  document.documentElement.dataset.drawn = "failed";
  console.error(error);
});
