import { describe, expect, test } from "vitest";
import { Payload } from "../src/data/decode.ts";
import { Profile } from "../src/data/model.ts";
import { Names } from "../src/data/names.ts";
import { EVERYTHING, liveCurve, roundWithin, taken, weigh } from "../src/data/select.ts";
import { matchedSum, rankBy } from "../src/data/sums.ts";
import { CallTree, foldedSites, type Graph, invert, NO_FOLDING, sandwich } from "../src/data/tree.ts";
import { encodeSmall, randomProfile } from "./small.ts";

const load = (seed: number, nodes = 300) => new Profile(new Payload(randomProfile(seed, nodes)));

/** Sites of a stack, outermost first, in the obvious way. */
function sitesOf(p: Profile, stack: number): number[] {
  const sites: number[] = [];
  for (let at = stack; at > 0; at = p.stackParent[at]!)
    sites.unshift(p.stackFrame[at]! >= 0 ? p.frameSite[p.stackFrame[at]!]! : p.stackLeaf[at]!);
  return sites;
}

/** Weights by path of keys, read off a graph, a caller before its calls. */
function paths(graph: Graph): Map<string, number> {
  const out = new Map<string, number>();
  const todo: [number, string][] = [[0, ""]];
  while (todo.length > 0) {
    const [node, path] = todo.pop()!;
    if (node !== 0 && graph.weight(node) !== 0) out.set(path, graph.weight(node));
    const { list, start, count } = graph.children(node);
    for (let i = start; i < start + count; i++) todo.push([list[i]!, `${path}/${graph.key(list[i]!)}`]);
  }
  return out;
}

function build(p: Profile, folding = NO_FOLDING) {
  const tree = new CallTree([{ profile: p, hidden: foldedSites(p, folding), keyOf: null }], folding);
  const own = tree.own(0, p, weigh(p, EVERYTHING).bytes);
  tree.weights = tree.sum(own.slice());
  return { tree, own };
}

function expectedPaths(p: Profile, of: (sites: number[]) => number[][]): Map<string, number> {
  const w = weigh(p, EVERYTHING);
  const out = new Map<string, number>();
  for (let i = 0; i < p.stats; i++) {
    if (w.bytes[i] === 0 || p.statStack[i] === 0) continue;
    for (const sites of of(sitesOf(p, p.statStack[i]!))) {
      let path = "";
      for (const site of sites) {
        path += `/${site}`;
        out.set(path, (out.get(path) ?? 0) + w.bytes[i]!);
      }
    }
  }
  return out;
}

describe("call trees", () => {
  for (const seed of [1, 2, 3]) {
    test(`are sums of what is below (${seed})`, () => {
      const p = load(seed);
      const { tree } = build(p);
      expect(paths(tree)).toEqual(expectedPaths(p, (sites) => [sites]));
      expect(tree.weights[0]).toBe(weigh(p, EVERYTHING).total.bytes);
    });
    test(`inverted begin at the innermost frames (${seed})`, () => {
      const p = load(seed);
      const { tree, own } = build(p);
      expect(paths(invert(tree, own, p.sites))).toEqual(expectedPaths(p, (sites) => [[...sites].reverse()]));
    });
    test(`around a function count it once where it calls itself (${seed})`, () => {
      const p = load(seed);
      const { tree } = build(p);
      const names = new Names(p, null);
      const groups = names.functionGroups();
      const group = groups[p.frameSite[5]!]!;
      const { callers, callees } = sandwich(tree, groups, group, names.functionKey(group), names.count);
      const first = (sites: number[]) => sites.findIndex((site) => groups[site] === group);
      expect(paths(callees)).toEqual(
        expectedPaths(p, (sites) => (first(sites) < 0 ? [] : [sites.slice(first(sites) + 1)])),
      );
      expect(paths(callers)).toEqual(
        expectedPaths(p, (sites) => (first(sites) < 0 ? [] : [sites.slice(0, first(sites)).reverse()])),
      );
      const w = weigh(p, EVERYTHING);
      let total = 0;
      for (let i = 0; i < p.stats; i++) if (first(sitesOf(p, p.statStack[i]!)) >= 0) total += w.bytes[i]!;
      expect(callers.weight(0)).toBe(total);
      expect(callees.weight(0)).toBe(total);
    });
    test(`lose frames that are folded, never bytes (${seed})`, () => {
      const p = load(seed);
      const total = weigh(p, EVERYTHING).total.bytes;
      for (const fold of ["imports", "internals", "libraries", "recursion"] as const) {
        const { tree } = build(p, { ...NO_FOLDING, [fold]: true });
        expect(tree.weights[0]).toBe(total);
        const hidden = foldedSites(p, { ...NO_FOLDING, [fold]: true });
        for (let node = 1; node < tree.size; node++) {
          /* a stack of which nothing is left shows as what the tables call it */
          if (tree.parents[node] !== 0) expect(hidden[tree.keys[node]!]).toBe(0);
          if (fold === "recursion")
            for (let up = tree.parents[node]!; up !== 0; up = tree.parents[up]!)
              expect(tree.keys[up]).not.toBe(tree.keys[node]);
        }
      }
    });
    test(`say what matches a search once (${seed})`, () => {
      const p = load(seed);
      const { tree, own } = build(p);
      const matches = new Names(p, null).search("fn3|fn4")!;
      let sum = 0;
      const w = weigh(p, EVERYTHING);
      for (let i = 0; i < p.stats; i++)
        if (sitesOf(p, p.statStack[i]!).some((site) => matches[site])) sum += w.bytes[i]!;
      expect(matchedSum(tree.parents, tree.keys, matches, own).sum).toBe(sum);
    });
  }
  test("a million calls deep is no recursion of ours", () => {
    const deep = 100_000;
    const stacks = Array.from({ length: deep }, (_, i) => ({
      parent: Math.max(0, i - 1),
      frame: i === 0 ? 0 : 1 + (i % 2),
      kind: i === 0 ? 0 : 1,
    }));
    const frames = [
      { file: "/app/a.py", name: "f", line: 1 },
      { file: "/app/a.py", name: "g", line: 2 },
    ];
    const p = new Profile(new Payload(encodeSmall(frames, stacks, [{ stack: deep - 1, peak: 9 }])));
    const { tree, own } = build(p);
    expect(tree.weights[0]).toBe(9);
    tree.outermost(null);
    const up = invert(tree, own, p.sites);
    let node = 0;
    let steps = 0;
    for (let next = up.children(0); next.count > 0; next = up.children(node), steps++) node = next.list[next.start]!;
    expect(steps).toBe(deep - 1);
    expect(build(p, { ...NO_FOLDING, recursion: true }).tree.size).toBe(3);
  });
});

describe("your line", () => {
  const frames = [
    { file: "/app/main.py", name: "main", line: 3 },
    { file: "/v/lib/python3.12/site-packages/np/a.py", name: "lib", line: 7 },
    { file: "<frozen importlib._bootstrap>", name: "_find", line: 1 },
  ];
  const stacks = [
    { parent: 0, frame: 0, kind: 0 },
    { parent: 0, frame: 1, kind: 1 },
    { parent: 1, frame: 2, kind: 1 },
    { parent: 0, frame: 3, kind: 1 },
    { parent: 0, frame: 0, kind: 2 },
    { parent: 2, frame: 0, kind: 3 },
  ];
  const p = new Profile(
    new Payload(
      encodeSmall(
        frames,
        stacks,
        stacks.map((_, stack) => ({ stack, peak: 1 })),
      ),
    ),
  );
  test("is the innermost of the user's", () => {
    const name = (stack: number) => `${p.sitePlace(p.stackYours[stack]!)} ${p.siteName(p.stackYours[stack]!)}`;
    expect(name(2)).toBe("main.py:3 main");
    expect(name(5)).toBe("main.py:3 main");
    expect(name(3)).toBe(" (interpreter start-up)");
    expect(name(4)).toBe(" (no Python)");
    expect(p.siteName(p.stackLeaf[5]!)).toBe("(deeper)");
  });
  test("is what is left where libraries are folded", () => {
    const { tree } = build(p, { ...NO_FOLDING, libraries: true });
    const names = [...paths(tree)].map(
      ([path, weight]) =>
        `${path
          .split("/")
          .map((key) => (key === "" ? "" : p.siteName(Number(key))))
          .join("/")} ${weight}`,
    );
    expect(names.sort()).toEqual(["/(interpreter start-up) 1", "/(no Python) 1", "/main 3", "/main/(deeper) 1"]);
  });
});

describe("selections", () => {
  const p = load(4);
  const cells = {
    stat: p.payload.ints("cell", "stat"),
    born: p.payload.ints("cell", "born"),
    lived: p.payload.ints("cell", "lived"),
    bytes: p.payload.numbers("cell", "bytes"),
  };
  const sumOf = (take: (born: number, died: number, stat: number) => boolean) => {
    let sum = 0;
    for (let i = 0; i < cells.stat.length; i++) {
      const died = cells.lived[i] === 0 ? Number.POSITIVE_INFINITY : cells.born[i]! + cells.lived[i]!;
      if (take(cells.born[i]!, died, cells.stat[i]!)) sum += cells.bytes[i]!;
    }
    return sum;
  };
  const range = (mode: "born" | "alive" | "kept" | "allocated" | "highest", from: number, to: number) =>
    weigh(p, { ...EVERYTHING, moment: "range", mode, from_ns: from * 10e6, to_ns: to * 10e6 }).total.bytes;
  test("of time are of the blocks that they say", () => {
    for (const [from, to] of [
      [0, 3],
      [2, 7],
      [5, 9],
    ] as const) {
      expect(range("alive", from, to)).toBe(sumOf((born, died) => born < to && died >= to));
      expect(range("born", from, to)).toBe(sumOf((born, died) => born >= from && born < to && died >= to));
      expect(range("kept", from, to)).toBe(
        sumOf((born, died) => born >= from && born < to && died === Number.POSITIVE_INFINITY),
      );
      expect(range("allocated", from, to)).toBe(sumOf((born) => born >= from && born < to));
      const boundaries = Array.from({ length: to - from + 1 }, (_, i) => range("alive", 0, from + i));
      expect(range("highest", from, to)).toBe(Math.max(...boundaries));
    }
  });
  test("to the end are of what was never freed", () => {
    expect(range("alive", 0, 10)).toBe(sumOf((_, died) => died === Number.POSITIVE_INFINITY));
  });
  test("make the same curve as each moment by itself", () => {
    const live = liveCurve(p, null);
    for (let t = 0; t < 10; t++) expect(live[t]).toBe(range("alive", 0, t));
  });
  test("take in the threads and allocators asked for", () => {
    const s = { ...EVERYTHING, thread: 1, allocator: 0 };
    const takes = taken(p, s)!;
    const all = p.payload.numbers("stat", "peak");
    let sum = 0;
    for (let i = 0; i < p.stats; i++) if (p.statThread[i] === 1 && p.statAllocator[i] === 0) sum += all[i]!;
    expect(weigh(p, s).total.bytes).toBe(sum);
    expect(takes.reduce((n, take) => n + take, 0)).toBeGreaterThan(0);
    const parts = [0, 1].flatMap((thread) =>
      [0, 1].map((allocator) => weigh(p, { ...EVERYTHING, thread, allocator }).total.bytes),
    );
    expect(parts.reduce((a, b) => a + b)).toBe(weigh(p, EVERYTHING).total.bytes);
  });
  test("rank lines so that they add up", () => {
    const w = weigh(p, EVERYTHING);
    const rows = rankBy(p.stackYours, p.statStack, p.sites, w.bytes, w.blocks);
    expect(rows.reduce((sum, row) => sum + row.bytes, 0)).toBe(w.total.bytes);
    for (let i = 1; i < rows.length; i++) expect(rows[i - 1]!.bytes).toBeGreaterThanOrEqual(rows[i]!.bytes);
  });
  test("within so many allocations are rounded down", () => {
    expect([0, 1, 2, 3, 100, 1024, 5000].map((n) => roundWithin(n).within)).toEqual([0, 1, 2, 2, 64, 1024, 1024]);
  });
});

describe("comparisons", () => {
  const frames = [
    { file: "/app/a.py", name: "kept", line: 3 },
    { file: "/app/a.py", name: "gone", line: 9 },
  ];
  const stacks = [
    { parent: 0, frame: 0, kind: 0 },
    { parent: 0, frame: 1, kind: 1 },
    { parent: 0, frame: 2, kind: 1 },
  ];
  const old = new Profile(
    new Payload(
      encodeSmall(frames, stacks, [
        { stack: 1, peak: 10 },
        { stack: 2, peak: 4 },
      ]),
    ),
  );
  test("join lines that moved, and keep those that are gone", () => {
    const moved = [{ file: "/app/a.py", name: "kept", line: 5 }];
    const now = new Profile(
      new Payload(encodeSmall(moved, stacks.slice(0, 2), [{ stack: 1, peak: 25 }], [], { match: [0, -1] })),
    );
    const names = new Names(now, old);
    const none = (q: Profile) => new Uint8Array(q.sites);
    const tree = new CallTree(
      [
        { profile: now, hidden: none(now), keyOf: null },
        { profile: old, hidden: none(old), keyOf: names.oldKey },
      ],
      NO_FOLDING,
    );
    const is = tree.sum(tree.own(0, now, weigh(now, EVERYTHING).bytes));
    const was = tree.sum(tree.own(1, old, weigh(old, EVERYTHING).bytes));
    expect(tree.size).toBe(3);
    const rows = [1, 2].map((node) => [
      names.label(tree.keys[node]!),
      is[node],
      was[node],
      names.isGone(tree.keys[node]!),
    ]);
    expect(rows).toEqual([
      ["a.py:5 (kept)", 25, 10, false],
      ["a.py:9 (gone)", 0, 4, true],
    ]);
  });
});
