"use strict";
// The data of a report, unpacked: its content, arrays of numbers by their place, words and candles.
async function inflated(id) {
  const binary = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
let content, body;
async function unpack() {
  const buffer = await inflated("data");
  const headLength = new DataView(buffer).getUint32(0, true);
  content = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, headLength)));
  body = new Uint8Array(buffer, 4 + headLength);
}
const known = new Map();
function numbers(id) {
  if (id === null || id === undefined) return null;
  if (known.has(id)) return known.get(id);
  const said = content.arrays[id], n = said.n, out = new Float64Array(n);
  if (said.raw) {
    const bytes = new Uint8Array(8 * n);
    for (let plane = 0; plane < 8; plane++) for (let i = 0; i < n; i++) bytes[8 * i + plane] = body[said.at + plane * n + i];
    out.set(new Float64Array(bytes.buffer));
  } else {
    let sum = 0;
    for (let i = 0, a = said.at; i < n; i++, a++) {
      sum += body[a] | (body[a + n] << 8) | (body[a + 2 * n] << 16) | (body[a + 3 * n] << 24);
      out[i] = (said.base + said.unit * sum) / said.divisor;
    }
  }
  known.set(id, out);
  return out;
}
const wordAt = (column, i) => column.words[numbers(column.codes)[i]];
const candleBlocks = new Map();
function candlesOf(block) {
  if (candleBlocks.has(block)) return candleBlocks.get(block);
  const n = block.n, d = block.divisor;
  const whole = (id) => numbers(id).map((value) => Math.round(value * d));
  const c = whole(block.close), o = whole(block.open), h = whole(block.high), l = whole(block.low);
  const out = { start: block.start, step: block.step, n, o: new Float64Array(n), h: new Float64Array(n), l: new Float64Array(n), c: new Float64Array(n) };
  for (let i = 0; i < n; i++) {
    // the first bar's difference is to its own open: 0
    const open = i ? o[i] + c[i - 1] : null;
    out.c[i] = c[i] / d;
    out.o[i] = open;
    out.h[i] = h[i]; out.l[i] = l[i];
  }
  out.o[0] = block.first;
  for (let i = 0; i < n; i++) {
    const high = Math.max(out.o[i], c[i]), low = Math.min(out.o[i], c[i]);
    out.h[i] = (high + h[i]) / d; out.l[i] = (low - l[i]) / d; out.o[i] = out.o[i] / d;
  }
  candleBlocks.set(block, out);
  return out;
}
