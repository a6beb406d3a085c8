/* The selection's weights by what people ask for: line, function, module, library, allocator, thread, process, region. */
import type { App } from "../app.ts";
import { type Profile, StackKind } from "./model.ts";
import { taken, type Weights } from "./select.ts";

export interface Group {
  id: number;
  key: number /* a site to open; -1: none */;
  name: string;
  place: string;
  source: string;
  bytes: number;
  blocks: number;
  below: number /* bytes with everything called; -1: not told */;
  allocated: number;
  allocations: number;
  before: number /* bytes in the older profile */;
  beforeBlocks: number;
}

export type Grouping =
  | "lines"
  | "leaf"
  | "functions"
  | "modules"
  | "libraries"
  | "allocators"
  | "threads"
  | "processes"
  | "regions";

export const GROUPINGS: { value: Grouping; text: string }[] = [
  { value: "lines", text: "your lines" },
  { value: "leaf", text: "innermost lines" },
  { value: "functions", text: "functions" },
  { value: "modules", text: "modules" },
  { value: "libraries", text: "native libraries" },
  { value: "allocators", text: "allocators" },
  { value: "threads", text: "threads" },
  { value: "processes", text: "processes" },
  { value: "regions", text: "regions" },
];

interface Sums {
  bytes: Float64Array;
  blocks: Float64Array;
  allocated: Float64Array;
  allocations: Float64Array;
}

/** Sums of stat rows by a number for each, -1 for those left out. */
function sumRows(
  p: Profile,
  w: Weights,
  takes: Uint8Array | null,
  count: number,
  groupOf: (row: number) => number,
): Sums {
  const make = () => new Float64Array(count);
  const sums = { bytes: make(), blocks: make(), allocated: make(), allocations: make() };
  const allocated = p.payload.numbers("stat", "allocated");
  const allocations = p.payload.numbers("stat", "allocations");
  for (let row = 0; row < p.stats; row++) {
    if (takes && !takes[row]) continue;
    const group = groupOf(row);
    if (group < 0) continue;
    sums.bytes[group]! += w.bytes[row]!;
    sums.blocks[group]! += w.blocks[row]!;
    sums.allocated[group]! += allocated[row]!;
    sums.allocations[group]! += allocations[row]!;
  }
  return sums;
}

/* The module of each stack: of the innermost frame outside the standard library, else of the innermost (groups.c). A file
 * row, -1: none. */
function moduleFiles(p: Profile): Int32Array {
  const files = new Int32Array(p.stacks).fill(-1);
  for (let i = 1; i < p.stacks; i++) {
    const frame = p.stackFrame[i]!;
    const fn = frame < 0 ? -1 : p.frameFunction[frame]!;
    const file = fn < 0 || p.stackKind[i] === StackKind.NATIVE ? -1 : p.functionFile[fn]!;
    const above = files[p.stackParent[i]!]!;
    files[i] = above;
    if (file < 0) continue;
    const library = p.fileOrigin[file]! > 1;
    if (!(library && above >= 0 && p.fileOrigin[above]! <= 1)) files[i] = file;
  }
  return files;
}

const RUNTIME =
  /^(libc\.so|libc-|libc\.musl|libstdc\+\+\.so|libc\+\+\.so|libc\+\+abi\.so|ld-linux|ld-|ld\.so|libpthread|libdl\.so|libgcc_s\.so|libheapline\.so)/;
const PYMALLOC =
  /^(PyMem_|_PyMem_|PyObject_Malloc|PyObject_Calloc|PyObject_Realloc|_PyObject_Malloc|_PyObject_Calloc|_PyObject_Realloc|pymalloc_alloc|pymalloc_realloc)/;

function libraryFiles(p: Profile): Int32Array {
  const files = new Int32Array(p.stacks).fill(-1);
  const settled = new Uint8Array(p.stacks);
  const runtime = new Map<number, boolean>();
  for (let i = 1; i < p.stacks; i++) {
    const above = p.stackParent[i]!;
    files[i] = files[above]!;
    settled[i] = settled[above]!;
    const frame = p.stackFrame[i]!;
    const module = frame < 0 ? -1 : p.frameModule[frame]!;
    if (module < 0) continue;
    let is = runtime.get(frame);
    if (is === undefined) {
      const path = p.path(module);
      const name = /^[[(]/.test(path) ? path : path.replace(/^.*\//, "");
      is = RUNTIME.test(name) || PYMALLOC.test(p.functionName(p.frameFunction[frame]!));
      runtime.set(frame, is);
    }
    if (is && settled[i]) continue;
    files[i] = module;
    settled[i] = is ? 0 : 1;
  }
  return files;
}

/* Numbers for names, the same for both profiles of a comparison. */
class Ids {
  readonly names: string[] = [];
  private readonly known = new Map<string, number>();
  of(name: string): number {
    let id = this.known.get(name);
    if (id === undefined) {
      id = this.names.length;
      this.names.push(name);
      this.known.set(name, id);
    }
    return id;
  }
}

const modules = new WeakMap<Profile, Int32Array>();
const libraries = new WeakMap<Profile, Int32Array>();
const kept = (map: WeakMap<Profile, Int32Array>, p: Profile, make: (p: Profile) => Int32Array) => {
  let value = map.get(p);
  if (!value) {
    value = make(p);
    map.set(p, value);
  }
  return value;
};

function byName(p: Profile, grouping: Grouping, ids: Ids): (row: number) => number {
  const cached = (name: (row: number) => string) => {
    const known = new Map<number, number>();
    return (of: number) => {
      let id = known.get(of);
      if (id === undefined) {
        id = ids.of(name(of));
        known.set(of, id);
      }
      return id;
    };
  };
  switch (grouping) {
    case "modules": {
      const files = kept(modules, p, moduleFiles);
      const name = cached((file) => p.moduleName(file));
      return (row) => name(files[p.statStack[row]!]!);
    }
    case "libraries": {
      const files = kept(libraries, p, libraryFiles);
      const name = cached((file) => (file < 0 ? "(no native frame)" : p.label(file)));
      return (row) => name(files[p.statStack[row]!]!);
    }
    case "allocators": {
      const name = cached((at) => p.meta.allocators[at] ?? "(unknown)");
      return (row) => name(p.statAllocator[row]!);
    }
    case "threads": {
      const name = cached((at) => {
        const base = p.meta.threads[at]?.base ?? -1;
        const of = p.meta.threads[base];
        const pid = of && p.meta.processes.length > 1 ? ` of ${p.meta.processes[of.process]?.pid ?? "?"}` : "";
        return base < 0 ? "(unknown)" : `${p.threadName(base)}${pid}`;
      });
      return (row) => name(p.statThread[row]!);
    }
    case "processes": {
      const name = cached((at) => p.processName(at));
      return (row) => name(p.statProcess[row]!);
    }
    default: {
      const name = cached((at) => p.meta.threads[at]?.region || "(outside of all)");
      return (row) => name(p.statThread[row]!);
    }
  }
}

export function groupsOf(a: App, grouping: Grouping): Group[] {
  const p = a.profile;
  const { names } = a;
  const w = a.weights.value;
  const takes = taken(p, a.selection.value);
  const oldW = a.oldWeights.value;
  const groups: Group[] = [];
  const push = (
    id: number,
    key: number,
    name: string,
    place: string,
    source: string,
    s: Sums,
    o: Sums | null,
    below: number,
  ) => {
    const before = o ? o.bytes[id]! : 0;
    const beforeBlocks = o ? o.blocks[id]! : 0;
    if (!s.bytes[id] && !s.blocks[id] && !before && !beforeBlocks) return;
    groups.push({
      id,
      key,
      name,
      place,
      source,
      bytes: s.bytes[id]!,
      blocks: s.blocks[id]!,
      below,
      allocated: s.allocated[id]!,
      allocations: s.allocations[id]!,
      before,
      beforeBlocks,
    });
  };
  if (grouping === "lines" || grouping === "leaf" || grouping === "functions") {
    const of = (q: Profile) => (grouping === "leaf" ? q.stackLeaf : q.stackYours);
    const functions = grouping === "functions" ? names.functionGroups() : null;
    const number = (key: number) => (functions ? functions[key]! : key);
    const count = functions ? names.functionCount : names.count;
    const mine = of(p);
    const s = sumRows(p, w, takes, count, (row) => number(mine[p.statStack[row]!]!));
    let o: Sums | null = null;
    if (a.old && oldW) {
      const q = a.old;
      const theirs = of(q);
      const keys = names.oldKey!;
      o = sumRows(q, oldW, null, count, (row) => number(keys[theirs[q.statStack[row]!]!]!));
    }
    const below = belowOf(a, functions, count);
    for (let id = 0; id < count; id++) {
      const key = functions ? names.functionKey(id) : id;
      if (!s.bytes[id] && !s.blocks[id] && !(o && (o.bytes[id] || o.blocks[id]))) continue;
      const place = functions ? names.place(key).replace(/:\d+$/, "") : names.place(key);
      push(id, key, names.name(key), place, functions ? "" : names.source(key), s, o, below[id]!);
    }
    return groups;
  }
  const ids = new Ids();
  const mine = byName(p, grouping, ids);
  const theirs = a.old ? byName(a.old, grouping, ids) : null;
  for (let row = 0; row < p.stats; row++) mine(row);
  if (a.old && theirs) for (let row = 0; row < a.old.stats; row++) theirs(row);
  const s = sumRows(p, w, takes, ids.names.length, mine);
  const o = a.old && oldW && theirs ? sumRows(a.old, oldW, null, ids.names.length, theirs) : null;
  for (let id = 0; id < ids.names.length; id++) push(id, -1, ids.names[id]!, "", "", s, o, -1);
  return groups;
}

/* Bytes with everything called, by key or function: the sum over the outermost nodes of each. */
function belowOf(a: App, groups: Int32Array | null, count: number): Float64Array {
  const tree = a.wholeTree.value;
  const sums = a.wholeSums.value;
  const outermost = tree.outermost(groups);
  const below = new Float64Array(count);
  for (let node = 1; node < tree.size; node++)
    if (outermost[node]) {
      const key = tree.keys[node]!;
      below[groups ? groups[key]! : key]! += sums[node]!;
    }
  return below;
}
