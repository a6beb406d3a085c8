/*
 * A selection and what each stat row weighs in it: the counterpart of src/report/view.c, so that every view equals the
 * reports in the terminal to the byte. Everything else on the page is a sum of these weights.
 */
import type { Profile } from "./model.ts";

export type Moment = "peak" | "end" | "allocated" | "temporary" | "range";

/** Of a range of time: which blocks. `grown` is `alive` less what was there before: those born in it. */
export type RangeMode = "born" | "alive" | "kept" | "highest" | "allocated";

export interface Selection {
  moment: Moment;
  within: number /* of temporary: freed within so many later allocations of the thread */;
  mode: RangeMode;
  from_ns: number;
  to_ns: number;
  process: number /* rows; -1: all */;
  thread: number;
  allocator: number;
  region: string /* "": all */;
}

export const EVERYTHING: Selection = {
  moment: "peak",
  within: 1,
  mode: "born",
  from_ns: 0,
  to_ns: 0,
  process: -1,
  thread: -1,
  allocator: -1,
  region: "",
};

export interface Weights {
  bytes: Float64Array /* by stat row */;
  blocks: Float64Array;
  total: { bytes: number; blocks: number };
  /** Of a range, in time: where its ends were rounded to, and, of "highest", when that was. */
  from_ns: number;
  to_ns: number;
}

/** Whether `name` is one of the regions in "request route=/users / query", with its attributes or without; or all of it. */
export function isInRegion(path: string, name: string): boolean {
  if (path === "") return false;
  return path === name || path.split(" / ").some((part) => part === name || part.startsWith(`${name} `));
}

/** Which stat rows a selection takes in at all; null: every one. */
export function taken(p: Profile, s: Selection): Uint8Array | null {
  if (s.process < 0 && s.thread < 0 && s.allocator < 0 && s.region === "") return null;
  const threads = p.meta.threads.map(
    (t) => (s.thread < 0 || t.base === s.thread) && (s.region === "" || isInRegion(t.region, s.region)),
  );
  const byThread = s.thread >= 0 || s.region !== "";
  const takes = new Uint8Array(p.stats);
  for (let i = 0; i < p.stats; i++)
    takes[i] =
      (s.process < 0 || p.statProcess[i] === s.process) &&
      (s.allocator < 0 || p.statAllocator[i] === s.allocator) &&
      (!byThread || threads[p.statThread[i]!] === true)
        ? 1
        : 0;
  return takes;
}

/** "within N" rounded down to what is kept: 0, 1, 2, 4 .. 1024; and how many buckets that is. */
export function roundWithin(within: number): { within: number; buckets: number } {
  let buckets = 1;
  for (let n = 1; n <= within && n <= 1024; n *= 2) buckets++;
  return { within: buckets === 1 ? 0 : 2 ** (buckets - 2), buckets };
}

const END = 0x7fffffff; /* a tick behind all others, still a small integer */

function weighCells(
  p: Profile,
  takes: Uint8Array | null,
  weights: Weights,
  bornFrom: number,
  bornTo: number,
  aliveAfter: number /* died after this tick; END: never; -1: whenever */,
  boundary_ns: number /* processes that ended by then are left out; -1: none */,
): void {
  const stat = p.payload.references("cell", "stat", Math.max(1, p.stats));
  const born = p.payload.ints("cell", "born");
  const lived = p.payload.ints("cell", "lived");
  const blocks = p.payload.numbers("cell", "blocks");
  const bytes = p.payload.numbers("cell", "bytes");
  const out = p.meta.processes.map((m) => boundary_ns >= 0 && m.ended !== "running" && m.end_ns <= boundary_ns);
  const anyOut = out.some(Boolean);
  const { bytes: byteSums, blocks: blockSums } = weights;
  let allBytes = 0;
  let allBlocks = 0;
  for (let i = 0; i < stat.length; i++) {
    const b = born[i]!;
    if (b < bornFrom || b > bornTo) continue;
    const l = lived[i]!;
    if (l !== 0 && b + l <= aliveAfter) continue;
    const row = stat[i]!;
    if (takes && !takes[row]) continue;
    if (anyOut && out[p.statProcess[row]!]) continue;
    byteSums[row]! += bytes[i]!;
    blockSums[row]! += blocks[i]!;
    allBytes += bytes[i]!;
    allBlocks += blocks[i]!;
  }
  weights.total = { bytes: allBytes, blocks: allBlocks };
}

/** What of the selection is alive at each tick boundary of the cells; the last is the end. */
export function liveCurve(p: Profile, takes: Uint8Array | null): Float64Array {
  const stat = p.payload.references("cell", "stat", Math.max(1, p.stats));
  const born = p.payload.ints("cell", "born");
  const lived = p.payload.ints("cell", "lived");
  const bytes = p.payload.numbers("cell", "bytes");
  const ticks = cellTicks(p);
  const live = new Float64Array(ticks + 2);
  const ends = p.meta.processes.map((m) =>
    m.ended === "running" ? END : Math.ceil(m.end_ns / p.meta.cell_tick_ns),
  ); /* the first boundary at which it counts no more */
  for (let i = 0; i < stat.length; i++) {
    const row = stat[i]!;
    if (takes && !takes[row]) continue;
    const first = born[i]! + 1; /* boundaries: at the start of tick t, born < t and died >= t */
    const last = Math.min(
      lived[i] === 0 ? ticks + 1 : born[i]! + lived[i]! + 1,
      Math.max(first, ends[p.statProcess[row]!] ?? END),
      ticks + 1,
    );
    if (first > ticks) continue;
    live[first]! += bytes[i]!;
    live[last]! -= bytes[i]!;
  }
  for (let t = 1; t <= ticks; t++) live[t]! += live[t - 1]!;
  return live.subarray(0, ticks + 1);
}

export function cellTicks(p: Profile): number {
  return Math.max(1, Math.ceil(p.meta.length_ns / p.meta.cell_tick_ns));
}

function weighRange(p: Profile, s: Selection, takes: Uint8Array | null, weights: Weights): void {
  const { cell_tick_ns, length_ns } = p.meta;
  const round = (time: number) => (time >= length_ns ? length_ns : Math.floor(time / cell_tick_ns) * cell_tick_ns);
  const tickBefore = (time: number) => (time >= length_ns ? END - 1 : Math.floor(time / cell_tick_ns) - 1);
  weights.from_ns = round(s.from_ns);
  weights.to_ns = round(s.to_ns);
  const first = Math.floor(weights.from_ns / cell_tick_ns);
  const last = tickBefore(weights.to_ns);
  /* at the very end: what was alive when each process ended, as `--at end` has it */
  const boundary = (time: number) => (time >= length_ns ? -1 : time);
  switch (s.mode) {
    case "alive":
      weighCells(p, takes, weights, 0, last, last, boundary(weights.to_ns));
      break;
    case "born":
      weighCells(p, takes, weights, first, last, last, boundary(weights.to_ns));
      break;
    case "kept":
      weighCells(p, takes, weights, first, last, END, -1);
      break;
    case "allocated":
      weighCells(p, takes, weights, first, last, -1, -1);
      break;
    case "highest": {
      const live = liveCurve(p, takes);
      const to = weights.to_ns >= length_ns ? live.length - 1 : Math.min(live.length - 1, last + 1);
      let best = first;
      for (let t = first; t <= to; t++) if (live[t]! > live[best]!) best = t;
      weights.to_ns = Math.min(length_ns, best * cell_tick_ns);
      const tick = tickBefore(weights.to_ns);
      weighCells(p, takes, weights, 0, tick, tick, boundary(weights.to_ns));
      weights.from_ns = weights.to_ns;
    }
  }
}

export function weigh(p: Profile, s: Selection): Weights {
  const weights: Weights = {
    bytes: new Float64Array(p.stats),
    blocks: new Float64Array(p.stats),
    total: { bytes: 0, blocks: 0 },
    from_ns: 0,
    to_ns: 0,
  };
  const takes = taken(p, s);
  const columns = (bytes: string, blocks: string) => {
    const b = p.payload.numbers("stat", bytes);
    const n = p.payload.numbers("stat", blocks);
    const { bytes: byteSums, blocks: blockSums } = weights;
    let allBytes = 0;
    let allBlocks = 0;
    for (let i = 0; i < byteSums.length; i++) {
      if (takes !== null && takes[i] === 0) continue;
      byteSums[i]! += b[i]!;
      blockSums[i]! += n[i]!;
      allBytes += b[i]!;
      allBlocks += n[i]!;
    }
    weights.total = { bytes: weights.total.bytes + allBytes, blocks: weights.total.blocks + allBlocks };
  };
  switch (s.moment) {
    case "peak":
      if (s.process < 0 && p.recorded > 1) columns("tree_peak", "tree_peak_blocks");
      else columns("peak", "peak_blocks");
      break;
    case "end":
      columns("live", "live_blocks");
      break;
    case "allocated":
      columns("allocated", "allocations");
      break;
    case "temporary":
      for (let i = 0; i < roundWithin(s.within).buckets; i++)
        if (p.payload.has("stat", `temporary_${i}_count`) || p.payload.has("stat", `temporary_${i}_bytes`))
          columns(`temporary_${i}_bytes`, `temporary_${i}_count`);
      break;
    case "range":
      weighRange(p, s, takes, weights);
  }
  return weights;
}

/** What the total must be by the profile's own totals; -1 when it does not say. */
export function expected(p: Profile, s: Selection): number {
  if (s.thread >= 0 || s.region !== "" || s.allocator >= 0) return -1;
  const { totals, processes } = p.meta;
  const process = s.process < 0 ? null : processes[s.process]!;
  switch (s.moment) {
    case "peak":
      return process ? process.peak : totals.peak_bytes;
    case "end":
      return process ? process.live : totals.end_bytes;
    case "allocated":
      return process ? process.allocated : totals.allocated;
    default:
      return -1;
  }
}
