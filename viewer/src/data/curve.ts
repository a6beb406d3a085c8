/*
 * Heap and RSS of the selected processes over time, summed: the counterpart of src/report/curve.c. One point a tick in which
 * anything changed; between two points everything stays as the earlier one says. RSS is null until the first sample.
 */
import { NULL } from "./decode.ts";
import type { Profile } from "./model.ts";

export interface Curve {
  length: number;
  end_ns: Float64Array;
  heap: Float64Array;
  low: Float64Array;
  high: Float64Array;
  arena: Float64Array;
  rss: Float64Array /* -1: not known */;
  anon: Float64Array;
  file: Float64Array;
  shared: Float64Array;
  pss: Float64Array;
  pool: Float64Array;
}

const SAMPLES = ["rss", "rss_anon", "rss_file", "rss_shmem", "pss", "pool"] as const;

export function makeCurve(p: Profile, process: number): Curve {
  const { payload, meta } = p;
  const rows = payload.rows("tick");
  const of = payload.ints("tick", "process");
  const tick = payload.numbers("tick", "tick");
  const column = (name: string) => payload.numbers("tick", name);
  const sample = (name: string) =>
    payload.has("tick", name) ? payload.numbers("tick", name) : new Float64Array(rows).fill(NULL);
  const [heap, low, high, arena] = [column("heap"), column("low"), column("high"), column("arena")];
  const samples = SAMPLES.map(sample);
  const processes = Math.max(1, meta.processes.length);

  /* the rows in the order of time, and the row after a process's last tick, where it counts no more */
  const events: number[] = [];
  for (let i = 0; i < rows; i++)
    if ((process < 0 || of[i] === process) && of[i]! >= 0 && of[i]! < processes) events.push(i);
  const lastTick = Math.floor(meta.length_ns / meta.tick_ns);
  const gone: { tick: number; process: number }[] = [];
  meta.processes.forEach((m, row) => {
    if (process >= 0 && row !== process) return;
    if (m.ended !== "running" && Math.floor(m.end_ns / meta.tick_ns) < lastTick)
      gone.push({ tick: Math.floor(m.end_ns / meta.tick_ns) + 1, process: row });
  });
  const order = events.map((i) => ({ tick: tick[i]!, row: i, process: of[i]! }));
  for (const g of gone) order.push({ tick: g.tick, row: -1, process: g.process });
  order.sort((a, b) => a.tick - b.tick || a.row - b.row);

  const ticks = new Set(order.map((e) => e.tick)).size;
  const make = () => new Float64Array(ticks);
  const curve: Curve = {
    length: ticks,
    end_ns: make(),
    heap: make(),
    low: make(),
    high: make(),
    arena: make(),
    rss: make(),
    anon: make(),
    file: make(),
    shared: make(),
    pss: make(),
    pool: make(),
  };
  const into = [curve.rss, curve.anon, curve.file, curve.shared, curve.pss, curve.pool];
  const now = { heap: make0(processes), low: make0(processes), high: make0(processes), arena: make0(processes) };
  const nowSamples = SAMPLES.map(() => new Float64Array(processes).fill(-1));
  const ended = new Uint8Array(processes);
  let sums = [0, 0, 0, 0];
  let at = 0;
  let point = 0;
  while (at < order.length) {
    const current = order[at]!.tick;
    const touched: number[] = [];
    for (; at < order.length && order[at]!.tick === current; at++) {
      const { row, process: who } = order[at]!;
      if (ended[who]) continue;
      const next = row < 0 ? [0, 0, 0, 0] : [heap[row]!, low[row]!, high[row]!, arena[row]!];
      sums = [
        sums[0]! + next[0]! - now.heap[who]!,
        sums[1]! + next[1]! - now.low[who]!,
        sums[2]! + next[2]! - now.high[who]!,
        sums[3]! + next[3]! - now.arena[who]!,
      ];
      now.heap[who] = next[0]!;
      now.low[who] = next[1]!;
      now.high[who] = next[2]!;
      now.arena[who] = next[3]!;
      if (row < 0) {
        ended[who] = 1;
        for (const s of nowSamples) s[who] = -1;
      } else {
        if (samples[0]![row] !== NULL) nowSamples[4]![who] = -1; /* a PSS of an earlier sample */
        samples.forEach((s, k) => {
          if (s[row] !== NULL) nowSamples[k]![who] = s[row]!;
        });
      }
      touched.push(who);
    }
    curve.end_ns[point] = Math.min((current + 1) * meta.tick_ns, at === order.length ? meta.length_ns : Infinity);
    curve.heap[point] = sums[0]!;
    curve.low[point] = sums[1]!;
    curve.high[point] = sums[2]!;
    curve.arena[point] = sums[3]!;
    let wholePss = true;
    nowSamples.forEach((s, k) => {
      let sum = -1;
      for (let i = 0; i < processes; i++) {
        if (s[i]! >= 0) sum = Math.max(0, sum) + s[i]!;
        if (k === 4 && nowSamples[0]![i]! >= 0 && s[i]! < 0) wholePss = false;
      }
      into[k]![point] = k === 4 && !wholePss ? -1 : sum;
    });
    point++;
    for (const who of touched) {
      /* after its tick a process stands still: what it reached within the tick no longer counts */
      sums[1]! += now.heap[who]! - now.low[who]!;
      sums[2]! += now.heap[who]! - now.high[who]!;
      now.low[who] = now.high[who] = now.heap[who]!;
    }
  }
  return curve;
}

const make0 = (n: number) => new Float64Array(n);

/** The point that holds at a time; -1 before the first. */
export function pointAt(curve: Curve, time_ns: number): number {
  let low = 0;
  let high = curve.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.end_ns[middle]! <= time_ns || middle === curve.length - 1) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
