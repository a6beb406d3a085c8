/*
 * What the views are computed from: the profile, and, from the state, the weights of the selection, the call tree and its
 * sums. Each is computed when a view first asks for it and kept until what it stands on changes.
 */
import { computed, type ReadonlySignal, signal } from "@preact/signals";
import { type Curve, makeCurve } from "./data/curve.ts";
import type { Payload } from "./data/decode.ts";
import { Profile } from "./data/model.ts";
import { Names } from "./data/names.ts";
import { cellTicks, expected, liveCurve, type Selection, taken, type Weights, weigh } from "./data/select.ts";
import { matchedSum, sumUp } from "./data/sums.ts";
import { CallTree, type Folding, foldedSites, invert, type LazyTree, NO_FOLDING, sandwich } from "./data/tree.ts";
import { state } from "./state.ts";
import { size, time } from "./text.ts";

const clamp = (row: number, count: number) => (row < count ? row : -1);

export class App {
  readonly profile: Profile;
  readonly old: Profile | null;
  readonly names: Names;
  readonly selection: ReadonlySignal<Selection>;
  readonly weights: ReadonlySignal<Weights>;
  readonly oldWeights: ReadonlySignal<Weights | null>;
  readonly tree: ReadonlySignal<CallTree>;
  /** Of the call tree's nodes, in the unit chosen. */
  readonly own: ReadonlySignal<Float64Array>;
  readonly sums: ReadonlySignal<Float64Array>;
  readonly oldSums: ReadonlySignal<Float64Array | null>;
  /** The tree with what its widths are: of a comparison, the larger of both. */
  readonly drawn: ReadonlySignal<{ tree: CallTree; own: Float64Array }>;
  /** With every frame, for sums by line "with all that it called". */
  readonly wholeTree: ReadonlySignal<CallTree>;
  readonly wholeSums: ReadonlySignal<Float64Array>;
  readonly inverted: ReadonlySignal<LazyTree>;
  readonly sandwiched: ReadonlySignal<{ callers: LazyTree; callees: LazyTree } | null>;
  readonly matches: ReadonlySignal<Uint8Array | null>;
  readonly matched: ReadonlySignal<{ sum: number; nodes: number } | null>;
  readonly curve: ReadonlySignal<Curve>;
  /** Of the selection, at the boundaries of the cells' ticks. */
  readonly live: ReadonlySignal<Float64Array>;
  private readonly curves = new Map<number, Curve>();

  constructor(payload: Payload, oldPayload: Payload | null) {
    this.profile = new Profile(payload);
    this.old = oldPayload ? new Profile(oldPayload) : null;
    this.names = new Names(this.profile, this.old);
    const p = this.profile;
    const text = (value: ReadonlySignal<unknown>) => JSON.stringify(value.value);

    /* computed in two steps: signals compare by identity, and most changes of the state change none of this */
    const selectionText = computed(() => {
      const s = state.value;
      const selection: Selection = {
        moment: s.moment,
        within: s.within,
        mode: s.mode,
        from_ns: Math.min(s.from_ns, p.meta.length_ns),
        to_ns: s.to_ns <= s.from_ns && s.mode !== "alive" ? p.meta.length_ns : s.to_ns,
        process: clamp(s.process, p.meta.processes.length),
        thread: clamp(s.thread, p.meta.threads.length),
        allocator: clamp(s.allocator, p.meta.allocators.length),
        region: s.region,
      };
      return JSON.stringify(selection);
    });
    this.selection = computed(() => JSON.parse(selectionText.value) as Selection);
    this.weights = computed(() => weigh(p, this.selection.value));
    this.oldWeights = computed(() =>
      this.old ? weigh(this.old, oldSelection(this.selection.value, p, this.old)) : null,
    );

    const foldingText = computed(() => JSON.stringify(state.value.folding));
    this.tree = computed(() => {
      const folding = JSON.parse(foldingText.value) as Folding;
      const of = (profile: Profile, keyOf: Int32Array | null) => ({
        profile,
        hidden: foldedSites(profile, folding),
        keyOf,
      });
      const all = [of(p, null)];
      if (this.old) all.push(of(this.old, this.names.oldKey));
      return new CallTree(all, folding);
    });
    const unit = computed(() => state.value.unit);
    this.own = computed(() => this.tree.value.own(0, p, this.weights.value[unit.value]));
    this.sums = computed(() => this.tree.value.sum(this.own.value.slice()));
    const oldOwn = computed(() =>
      this.old && this.oldWeights.value ? this.tree.value.own(1, this.old, this.oldWeights.value[unit.value]) : null,
    );
    this.oldSums = computed(() => (oldOwn.value ? this.tree.value.sum(oldOwn.value.slice()) : null));
    this.drawn = computed(() => {
      const tree = this.tree.value;
      const before = oldOwn.value;
      if (!before) {
        tree.weights = this.sums.value;
        return { tree, own: this.own.value };
      }
      const own = this.own.value.map((weight, node) => Math.max(weight, before[node]!));
      tree.weights = sumUp(tree.parents, own.slice());
      return { tree, own };
    });
    this.wholeTree = computed(
      () => new CallTree([{ profile: p, hidden: new Uint8Array(p.sites), keyOf: null }], NO_FOLDING),
    );
    this.wholeSums = computed(() => {
      const tree = this.wholeTree.value;
      return tree.sum(tree.own(0, p, this.weights.value.bytes));
    });
    this.inverted = computed(() => invert(this.drawn.value.tree, this.drawn.value.own, this.names.count));
    const sandwiched = computed(() => state.value.sandwich);
    this.sandwiched = computed(() => {
      const group = sandwiched.value;
      if (group < 0 || group >= this.names.functionCount) return null;
      const key = this.names.functionKey(group);
      return sandwich(this.drawn.value.tree, this.names.functionGroups(), group, key, this.names.count);
    });
    const search = computed(() => state.value.search);
    this.matches = computed(() => this.names.search(search.value));
    this.matched = computed(() => {
      const matches = this.matches.value;
      if (!matches) return null;
      const { tree } = this.drawn.value;
      return matchedSum(tree.parents, tree.keys, matches, this.own.value);
    });
    const process = computed(() => this.selection.value.process);
    this.curve = computed(() => this.curveOf(process.value));
    const parts = computed(() => {
      const { process, thread, allocator, region } = this.selection.value;
      return { process, thread, allocator, region };
    });
    const partsText = computed(() => text(parts));
    this.live = computed(() => {
      void partsText.value;
      return liveCurve(p, taken(p, this.selection.peek()));
    });
  }

  curveOf(process: number): Curve {
    let curve = this.curves.get(process);
    if (!curve) {
      curve = makeCurve(this.profile, process);
      this.curves.set(process, curve);
    }
    return curve;
  }

  /** Weights of another selection than the page's, with its threads, processes and so on. */
  weighOther(change: Partial<Selection>): Weights {
    return weigh(this.profile, { ...this.selection.value, ...change });
  }

  /** What the weights are, in words: "at the peak". */
  title(s: Selection): string {
    const moments = this.profile.meta.moments;
    const w = this.weights.value;
    switch (s.moment) {
      case "peak":
        return s.thread >= 0 || s.region !== "" || s.allocator >= 0
          ? "share of the peak"
          : (moments.get("peak")?.title ?? "at the peak");
      case "end":
        return this.profile.meta.end_words;
      case "allocated":
        return "allocated, freed or not";
      case "temporary":
        return s.within === 0
          ? "freed before the next allocation"
          : `freed within ${s.within} allocation${s.within === 1 ? "" : "s"}`;
      case "range": {
        const from = time(w.from_ns);
        const to = time(w.to_ns);
        switch (s.mode) {
          case "alive":
            return `alive at ${to}`;
          case "born":
            return `allocated from ${from} on and alive at ${to}`;
          case "kept":
            return `allocated from ${from} to ${to} and never freed`;
          case "highest":
            return `alive at ${to}, the highest tick boundary of the range`;
          case "allocated":
            return `allocated from ${from} to ${to}, of blocks that outlived a tick of ${time(this.profile.meta.cell_tick_ns)}`;
        }
      }
    }
  }

  /** A sentence where the page's sum is not what the profile says; "" when all is well. */
  check(): string {
    const s = this.selection.value;
    const should = expected(this.profile, s);
    const is = this.weights.value.total.bytes;
    if (should < 0 || should === is) return "";
    return `These rows add up to ${size(is)}, the recording's own total is ${size(should)}.`;
  }

  get ticks(): number {
    return cellTicks(this.profile);
  }
}

/* The same part of the older profile: processes and allocators by their place, threads by their name. */
function oldSelection(s: Selection, p: Profile, old: Profile): Selection {
  const name = p.meta.threads[s.thread]?.name;
  const thread = s.thread < 0 ? -1 : old.meta.threads.findIndex((t) => t.name === name && t.region === "");
  const allocator = s.allocator < 0 ? -1 : old.meta.allocators.indexOf(p.meta.allocators[s.allocator] ?? "");
  const to_ns = s.moment === "range" && s.to_ns >= p.meta.length_ns ? old.meta.length_ns : s.to_ns;
  return {
    ...s,
    to_ns,
    thread: s.thread >= 0 && thread < 0 ? old.meta.threads.length : thread,
    allocator: s.allocator >= 0 && allocator < 0 ? old.meta.allocators.length : allocator,
    process: s.process,
  };
}

/** Set once the data is there. */
export const app = signal<App | null>(null);
