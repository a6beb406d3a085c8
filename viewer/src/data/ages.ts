/* When the selected blocks were allocated, on average, by node of the call tree: for colours by age. */
import type { App } from "../app.ts";
import { taken } from "./select.ts";
import { sumUp } from "./sums.ts";

let known: { key: unknown; tree: unknown; ages: Float64Array } | null = null;

/** Nanoseconds since the start; -1: nothing is known (blocks that did not outlive a tick). */
export function agesOf(a: App): Float64Array {
  const weights = a.weights.value;
  const tree = a.tree.value;
  if (known && known.key === weights && known.tree === tree) return known.ages;
  const p = a.profile;
  const s = a.selection.value;
  const { cell_tick_ns, length_ns, totals } = p.meta;
  const takes = taken(p, s);
  /* the blocks alive at the tick boundary of the moment */
  const moment = s.moment === "peak" ? totals.peak_ns : s.moment === "range" ? weights.to_ns : length_ns;
  const last = moment >= length_ns ? Number.MAX_SAFE_INTEGER - 1 : Math.ceil(moment / cell_tick_ns) - 1;
  const first =
    s.moment === "range" && s.mode !== "alive" && s.mode !== "highest" ? Math.floor(weights.from_ns / cell_tick_ns) : 0;
  const stat = p.payload.ints("cell", "stat");
  const born = p.payload.ints("cell", "born");
  const lived = p.payload.ints("cell", "lived");
  const bytes = p.payload.numbers("cell", "bytes");
  const of = tree.nodeOf[0]!;
  const sum = new Float64Array(tree.size);
  const timed = new Float64Array(tree.size);
  for (let i = 0; i < stat.length; i++) {
    const b = born[i]!;
    if (b < first || b > last || (lived[i] !== 0 && b + lived[i]! <= last)) continue;
    if (takes && !takes[stat[i]!]) continue;
    const node = of[p.statStack[stat[i]!]!]!;
    sum[node]! += bytes[i]!;
    timed[node]! += bytes[i]! * (b + 0.5) * cell_tick_ns;
  }
  sumUp(tree.parents, sum);
  sumUp(tree.parents, timed);
  const ages = timed.map((value, node) => (sum[node]! > 0 ? Math.min(length_ns, value / sum[node]!) : -1));
  known = { key: weights, tree, ages };
  return ages;
}
