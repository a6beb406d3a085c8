/*
 * Call trees to draw: the profile's own with frames folded away, and, made lazily where they are looked at, the inverted one
 * and those of a function's callers and callees.
 *
 * All are arrays; nothing is recursive. A tree's shape does not depend on the selection, so a new range of time costs a pass
 * over the weights and one over the nodes.
 */
import { Origin, type Profile, SiteKind, StackKind } from "./model.ts";
import { sumUp } from "./sums.ts";

export interface Folding {
  imports: boolean /* the import machinery */;
  internals: boolean /* the interpreter: frozen modules, bootstrap of threads, native frames of it */;
  libraries: boolean /* all but the user's own code */;
  recursion: boolean /* a line that is below itself */;
  native: boolean /* native frames */;
}

export const NO_FOLDING: Folding = {
  imports: false,
  internals: false,
  libraries: false,
  recursion: false,
  native: false,
};

/** What a picture of a tree needs. Node 0 is the root. Children are `childList[childStart(node) ..]`. */
export interface Graph {
  readonly size: number;
  key(node: number): number /* a site; -1: the root */;
  parent(node: number): number;
  weight(node: number): number /* what its width is */;
  /** Makes the children known; they are list[start .. start + count). */
  children(node: number): { list: Int32Array; start: number; count: number };
}

/* ------------------------------------------------------------------------------------------------- which frames go */

/** 1 for sites that are folded away. */
export function foldedSites(p: Profile, folding: Folding): Uint8Array {
  const hidden = new Uint8Array(p.sites);
  for (let s = 0; s < p.sites; s++) {
    const kind = p.siteKind[s];
    const fn = p.siteFunction[s]!;
    const file = p.siteFile(s);
    if (kind !== SiteKind.LINE || file < 0) continue;
    const module = p.siteModule[s]!;
    const origin = p.fileOrigin[file];
    const path = p.path(file);
    const native = module >= 0;
    if (folding.native && native && !p.nativeOnly) hidden[s] = 1;
    if (folding.imports && (path.startsWith("<frozen importlib") || /\/importlib\/_bootstrap/.test(path)))
      hidden[s] = 1;
    if (folding.internals) {
      if (native) {
        const name = p.path(module).replace(/^.*\//, "");
        if (!p.nativeOnly && /^(libpython|python[0-9.]*$|libc\.so|libc-|ld-linux|libpthread|libheapline)/.test(name))
          hidden[s] = 1;
      } else if (origin === Origin.FROZEN || isBootstrap(p, path, fn)) hidden[s] = 1;
    }
    if (folding.libraries && (native ? !p.nativeOnly : origin !== p.yours)) hidden[s] = 1;
  }
  return hidden;
}

/* What stands between the interpreter and the program's first line. */
function isBootstrap(p: Profile, path: string, fn: number): boolean {
  if (/\/threading\.py$/.test(path)) return /^(Thread\.)?(_bootstrap|_bootstrap_inner|run)$/.test(p.functionName(fn));
  return /\/runpy\.py$/.test(path);
}

/* --------------------------------------------------------------------------------------------- the profile's own tree */

/** Open addressing from (parent, key) to a node: the three side by side, since each look-up is a miss of the cache. */
class ChildMap {
  private readonly mask: number;
  private readonly slots: Int32Array; /* parent, key, node, unused */

  constructor(expected: number) {
    let room = 1024;
    while (room < expected * 1.5) room *= 2;
    this.mask = room - 1;
    this.slots = new Int32Array(room * 4);
  }

  /** The node, or, where there is none, that `next` is now it. Nodes begin with 1. */
  find(parent: number, key: number, next: number): number {
    const { slots, mask } = this;
    let at = Math.imul(parent, 0x9e3779b1) ^ Math.imul(key, 0x85ebca6b);
    at = (at ^ (at >>> 15)) & mask;
    for (;;) {
      const slot = at * 4;
      const node = slots[slot + 2]!;
      if (node === 0) {
        slots[slot] = parent;
        slots[slot + 1] = key;
        slots[slot + 2] = next;
        return next;
      }
      if (slots[slot] === parent && slots[slot + 1] === key) return node;
      at = (at + 1) & mask;
    }
  }
}

export class CallTree implements Graph {
  readonly parents: Int32Array;
  readonly keys: Int32Array;
  readonly depths: Int32Array;
  readonly size: number;
  /** The node of each stack: of the first profile, then of the second of a comparison. */
  readonly nodeOf: Int32Array[] = [];
  weights: Float64Array;
  private readonly childStart: Int32Array;
  private readonly childList: Int32Array;

  /** `keyOf` gives, for each profile, the key of each of its sites: their numbers, or those of sites they were matched to. */
  constructor(profiles: { profile: Profile; hidden: Uint8Array; keyOf: Int32Array | null }[], folding: Folding) {
    const room = 1 + profiles.reduce((sum, { profile }) => sum + profile.stacks, 0);
    const parents = new Int32Array(room);
    const keys = new Int32Array(room);
    const map = new ChildMap(room);
    keys[0] = -1;
    let n = 1;
    const child = (parent: number, key: number): number => {
      const node = map.find(parent, key, n);
      if (node === n) {
        parents[n] = parent;
        keys[n++] = key;
      }
      return node;
    };
    for (const { profile: p, hidden, keyOf } of profiles) {
      const place = new Int32Array(p.stacks); /* where a stack's calls are attached */
      const of = new Int32Array(p.stacks); /* where its own memory is */
      for (let i = 1; i < p.stacks; i++) {
        const above = place[p.stackParent[i]!]!;
        const frame = p.stackFrame[i]!;
        const kind = p.stackKind[i]!;
        let site = frame >= 0 ? p.frameSite[frame]! : p.stackLeaf[i]!;
        if (kind === StackKind.DEEPER || kind === StackKind.OTHER) site = p.stackLeaf[i]!;
        if (hidden[site]) {
          place[i] = above;
          of[i] = above;
          if (above === 0) {
            const charged = p.stackYours[i]!;
            /* nothing is left of the stack: it shows as what the tables call it */
            of[i] = child(0, keyOf ? keyOf[charged]! : charged);
          }
          continue;
        }
        const key = keyOf ? keyOf[site]! : site;
        if (folding.recursion) {
          let up = above;
          while (up !== 0 && keys[up] !== key) up = parents[up]!;
          if (up !== 0) {
            place[i] = of[i] = up;
            continue;
          }
        }
        place[i] = of[i] = child(above, key);
      }
      this.nodeOf.push(of);
    }
    this.size = n;
    this.parents = parents.slice(0, n);
    this.keys = keys.slice(0, n);
    this.depths = new Int32Array(n);
    this.childStart = new Int32Array(n + 1);
    this.childList = new Int32Array(Math.max(0, n - 1));
    for (let i = 1; i < n; i++) {
      this.childStart[this.parents[i]! + 1]!++;
      this.depths[i] = this.depths[this.parents[i]!]! + 1;
    }
    for (let i = 0; i < n; i++) this.childStart[i + 1]! += this.childStart[i]!;
    const next = this.childStart.slice(0, n);
    for (let i = 1; i < n; i++) this.childList[next[this.parents[i]!]!++] = i;
    this.weights = new Float64Array(n);
  }

  key(node: number): number {
    return this.keys[node]!;
  }

  parent(node: number): number {
    return this.parents[node]!;
  }

  weight(node: number): number {
    return this.weights[node]!;
  }

  children(node: number): { list: Int32Array; start: number; count: number } {
    const start = this.childStart[node]!;
    return { list: this.childList, start, count: this.childStart[node + 1]! - start };
  }

  /** What the nodes themselves weigh, of the weights of a profile's stat rows. */
  own(profile: number, p: Profile, stats: Float64Array): Float64Array {
    const own = new Float64Array(this.size);
    const of = this.nodeOf[profile]!;
    const stack = p.statStack;
    for (let i = 0; i < p.stats; i++) {
      const weight = stats[i]!;
      if (weight !== 0) own[of[stack[i]!]!]! += weight;
    }
    return own;
  }

  /** With everything below, in place. */
  sum(own: Float64Array): Float64Array {
    return sumUp(this.parents, own);
  }

  private readonly outermostOf = new Map<Int32Array | null, Uint8Array>();

  /** 1 for nodes without a node of the same group further out: what a group weighs with all below is the sum over these.
   * `groups` maps keys to groups; null: keys are groups. */
  outermost(groups: Int32Array | null): Uint8Array {
    let flags = this.outermostOf.get(groups);
    if (flags) return flags;
    flags = new Uint8Array(this.size);
    let most = 0;
    const group = (node: number) => {
      const key = this.keys[node]!;
      return groups ? groups[key]! : key;
    };
    for (let i = 1; i < this.size; i++) most = Math.max(most, group(i));
    const open = new Int32Array(most + 1);
    const path: number[] = [];
    const todo: number[] = [0];
    while (todo.length > 0) {
      const node = todo.pop()!;
      const depth = this.depths[node]!;
      while (path.length > depth) {
        const left = path.pop()!;
        if (left !== 0 && group(left) >= 0) open[group(left)]!--;
      }
      path.push(node);
      if (node !== 0) {
        const g = group(node);
        if (g >= 0 && open[g]!++ === 0) flags[node] = 1;
      }
      const end = this.childStart[node + 1]!;
      for (let c = this.childStart[node]!; c < end; c++) todo.push(this.childList[c]!);
    }
    this.outermostOf.set(groups, flags);
    return flags;
  }
}

/* ------------------------------------------------------------------------------------- inverted, callers and callees */

/**
 * A tree that is made where it is looked at. A node stands for a list of entries: nodes of the base tree, each with a weight.
 * Upwards its children group the callers of these; downwards the calls from them.
 */
export class LazyTree implements Graph {
  private nodes = 1;
  private keyOf = new Int32Array(256);
  private parentOf = new Int32Array(256);
  private sums = new Float64Array(256);
  private firstChild = new Int32Array(256).fill(-1); /* -1: not known yet */
  private childCount = new Int32Array(256);
  private entryStart = new Int32Array(256);
  private entryCount = new Int32Array(256);
  private entryNode: Int32Array;
  private entryWeight: Float64Array;
  private entries = 0;
  private ids = new Int32Array(256);
  private readonly slot: Int32Array; /* by key: child at hand + 1 */

  constructor(
    private readonly base: CallTree,
    entries: { nodes: Int32Array; weights: Float64Array },
    private readonly direction: "up" | "down",
    private readonly rootKey: number,
    keys: number,
    /** Of the root: whether its entries are the things themselves, to be grouped by their own key, as in the inverted tree. */
    private readonly groupFirst: boolean,
  ) {
    this.entryNode = new Int32Array(Math.max(1024, entries.nodes.length * 2));
    this.entryWeight = new Float64Array(this.entryNode.length);
    this.slot = new Int32Array(keys + 1);
    let sum = 0;
    for (let i = 0; i < entries.nodes.length; i++) {
      this.entryNode[i] = entries.nodes[i]!;
      this.entryWeight[i] = entries.weights[i]!;
      sum += entries.weights[i]!;
    }
    this.entries = entries.nodes.length;
    this.keyOf[0] = rootKey;
    this.sums[0] = sum;
    this.entryCount[0] = this.entries;
  }

  get size(): number {
    return this.nodes;
  }

  key(node: number): number {
    return node === 0 ? this.rootKey : this.keyOf[node]!;
  }

  parent(node: number): number {
    return this.parentOf[node]!;
  }

  weight(node: number): number {
    return this.sums[node]!;
  }

  children(node: number): { list: Int32Array; start: number; count: number } {
    if (this.firstChild[node]! < 0) this.expand(node);
    return { list: this.ids, start: this.firstChild[node]!, count: this.childCount[node]! };
  }

  /** The nodes of the base tree that a node stands for. */
  entriesOf(node: number): Int32Array {
    return this.entryNode.subarray(this.entryStart[node]!, this.entryStart[node]! + this.entryCount[node]!);
  }

  private expand(node: number): void {
    const base = this.base;
    const first = this.nodes;
    const start = this.entryStart[node]!;
    const end = start + this.entryCount[node]!;
    const targets: number[] = [];
    const weights: number[] = [];
    if (this.direction === "up") {
      for (let e = start; e < end; e++) {
        const at = this.entryNode[e]!;
        const target = node === 0 && this.groupFirst ? at : base.parents[at]!;
        if (target === 0) continue;
        targets.push(target);
        weights.push(this.entryWeight[e]!);
      }
    } else {
      for (let e = start; e < end; e++) {
        const { list, start: from, count } = base.children(this.entryNode[e]!);
        for (let c = from; c < from + count; c++) {
          const weight = base.weights[list[c]!]!;
          if (weight === 0) continue;
          targets.push(list[c]!);
          weights.push(weight);
        }
      }
    }
    /* group by key: counts first, then places */
    const counts: number[] = [];
    for (let i = 0; i < targets.length; i++) {
      const key = base.keys[targets[i]!]!;
      let child = this.slot[key]! - 1;
      if (child < 0) {
        child = this.add(node, key);
        this.slot[key] = child + 1;
        counts.push(0);
      }
      counts[child - first]!++;
      this.sums[child]! += weights[i]!;
    }
    this.reserve(targets.length);
    let at = this.entries;
    for (let c = first; c < this.nodes; c++) {
      this.entryStart[c] = at;
      at += counts[c - first]!;
    }
    for (let i = 0; i < targets.length; i++) {
      const child = this.slot[base.keys[targets[i]!]!]! - 1;
      const place = this.entryStart[child]! + this.entryCount[child]!++;
      this.entryNode[place] = targets[i]!;
      this.entryWeight[place] = weights[i]!;
    }
    this.entries = at;
    for (let c = first; c < this.nodes; c++) this.slot[this.keyOf[c]!] = 0;
    this.firstChild[node] = first;
    this.childCount[node] = this.nodes - first;
  }

  private add(parent: number, key: number): number {
    if (this.nodes === this.keyOf.length) {
      const more = this.nodes * 2;
      const grow = (old: Int32Array, fill = 0) => {
        const grown = new Int32Array(more).fill(fill);
        grown.set(old);
        return grown;
      };
      this.keyOf = grow(this.keyOf);
      this.parentOf = grow(this.parentOf);
      this.firstChild = grow(this.firstChild, -1);
      this.childCount = grow(this.childCount);
      this.entryStart = grow(this.entryStart);
      this.entryCount = grow(this.entryCount);
      this.ids = grow(this.ids);
      const sums = new Float64Array(more);
      sums.set(this.sums);
      this.sums = sums;
    }
    const node = this.nodes++;
    this.keyOf[node] = key;
    this.parentOf[node] = parent;
    this.ids[node] = node;
    return node;
  }

  private reserve(more: number): void {
    if (this.entries + more <= this.entryNode.length) return;
    const room = Math.max(this.entryNode.length * 2, this.entries + more);
    const nodes = new Int32Array(room);
    nodes.set(this.entryNode);
    this.entryNode = nodes;
    const weights = new Float64Array(room);
    weights.set(this.entryWeight);
    this.entryWeight = weights;
  }
}

/** From the innermost frames outwards. */
export function invert(base: CallTree, own: Float64Array, keys: number): LazyTree {
  let n = 0;
  for (let i = 1; i < base.size; i++) if (own[i] !== 0) n++;
  const nodes = new Int32Array(n);
  const weights = new Float64Array(n);
  n = 0;
  for (let i = 1; i < base.size; i++)
    if (own[i] !== 0) {
      nodes[n] = i;
      weights[n++] = own[i]!;
    }
  return new LazyTree(base, { nodes, weights }, "up", -1, keys, true);
}

/** Callers and callees of everything in a group of keys (a function): `groups` maps keys to groups. */
export function sandwich(
  base: CallTree,
  groups: Int32Array,
  group: number,
  key: number,
  keys: number,
): { callers: LazyTree; callees: LazyTree } {
  const outermost = base.outermost(groups);
  const found: number[] = [];
  for (let i = 1; i < base.size; i++)
    if (outermost[i] && groups[base.keys[i]!] === group && base.weights[i] !== 0) found.push(i);
  const nodes = Int32Array.from(found);
  const weights = Float64Array.from(found, (node) => base.weights[node]!);
  return {
    callers: new LazyTree(base, { nodes, weights }, "up", key, keys, false),
    callees: new LazyTree(base, { nodes, weights }, "down", key, keys, false),
  };
}
