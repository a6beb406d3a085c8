/* Sums over call trees, whose parents stand before their children. */

/** Adds each node's weight to its caller's, innermost first; in place. */
export function sumUp(parents: Int32Array, weights: Float64Array): Float64Array {
  for (let i = weights.length - 1; i > 0; i--) {
    const weight = weights[i]!;
    if (weight !== 0) weights[parents[i]!]! += weight;
  }
  return weights;
}

/** The weight of everything at or below nodes that match, each counted once. `own` are the nodes' own weights. */
export function matchedSum(
  parents: Int32Array,
  keys: Int32Array,
  matches: Uint8Array,
  own: Float64Array,
): { sum: number; nodes: number } {
  const under = new Uint8Array(parents.length);
  let sum = 0;
  let nodes = 0;
  for (let i = 1; i < parents.length; i++) {
    const match = matches[keys[i]!]!;
    if (match) nodes++;
    if (match || under[parents[i]!]) {
      under[i] = 1;
      sum += own[i]!;
    }
  }
  return { sum, nodes };
}

export interface Row {
  key: number;
  bytes: number;
  blocks: number;
}

/** Own weights by key of each stat row's stack, the heaviest first; only those above 0. */
export function rankBy(
  keyOfStack: Int32Array,
  statStack: Int32Array,
  keys: number,
  bytes: Float64Array,
  blocks: Float64Array,
): Row[] {
  const b = new Float64Array(keys);
  const n = new Float64Array(keys);
  for (let i = 0; i < statStack.length; i++) {
    if (bytes[i] === 0 && blocks[i] === 0) continue;
    const key = keyOfStack[statStack[i]!]!;
    if (key < 0) continue;
    b[key]! += bytes[i]!;
    n[key]! += blocks[i]!;
  }
  const rows: Row[] = [];
  for (let key = 0; key < keys; key++)
    if (b[key] !== 0 || n[key] !== 0) rows.push({ key, bytes: b[key]!, blocks: n[key]! });
  rows.sort((x, y) => y.bytes - x.bytes || y.blocks - x.blocks || x.key - y.key);
  return rows;
}
