/* A small profile whose sums can be done by hand, and random ones for checks against the obvious way to compute them. */
import { Encoder } from "./encode.ts";

export interface Frame {
  file: string;
  name: string;
  line: number;
}

export interface SmallStack {
  parent: number;
  frame: number /* + 1; 0: none */;
  kind: number;
}

export interface SmallStat {
  stack: number;
  peak: number;
  live?: number;
  allocated?: number;
  process?: number;
  thread?: number;
  allocator?: number;
}

const SITE = "/v/lib/python3.12/site-packages/";
const originOf = (file: string) =>
  file.startsWith("<frozen") ? 3 : file.startsWith(SITE) ? 1 : file.startsWith("/usr/lib/python3") ? 2 : 0;

export function encodeSmall(
  frames: Frame[],
  stacks: SmallStack[],
  stats: SmallStat[],
  cells: [stat: number, born: number, lived: number, blocks: number, bytes: number][] = [],
  meta: Record<string, unknown> = {},
): Uint8Array {
  const e = new Encoder();
  const files = [...new Set(frames.map((frame) => frame.file))];
  const functions = [...new Set(frames.map((frame) => `${frame.file}\0${frame.name}`))];
  const column = (values: number[]) => ({ kind: "u" as const, values });
  e.table("file", {
    path: column(files.map((file) => e.text(file))),
    label: column(files.map((file) => e.text(file.replace(/^.*\//, "")))),
    origin: column(files.map(originOf)),
  });
  e.table("function", {
    file: column(functions.map((id) => files.indexOf(id.split("\0")[0]!))),
    name: column(functions.map((id) => e.text(id.split("\0")[1]!))),
  });
  e.table("frame", {
    function: column(frames.map((frame) => functions.indexOf(`${frame.file}\0${frame.name}`))),
    line: column(frames.map((frame) => frame.line)),
  });
  e.table("stack", {
    parent: { kind: "d", values: stacks.map((stack) => stack.parent) },
    frame: column(stacks.map((stack) => stack.frame)),
    kind: { kind: "r", values: stacks.map((stack) => stack.kind) },
  });
  e.table("stat", {
    stack: { kind: "d", values: stats.map((stat) => stat.stack) },
    process: column(stats.map((stat) => stat.process ?? 0)),
    thread: { kind: "u", null: true, values: stats.map((stat) => stat.thread ?? 0) },
    allocator: column(stats.map((stat) => stat.allocator ?? 0)),
    peak: column(stats.map((stat) => stat.peak)),
    peak_blocks: column(stats.map(() => 1)),
    live: column(stats.map((stat) => stat.live ?? 0)),
    allocated: column(stats.map((stat) => stat.allocated ?? stat.peak)),
    allocations: column(stats.map(() => 1)),
  });
  e.table("cell", {
    stat: column(cells.map((cell) => cell[0])),
    born: column(cells.map((cell) => cell[1])),
    lived: column(cells.map((cell) => cell[2])),
    blocks: column(cells.map((cell) => cell[3])),
    bytes: column(cells.map((cell) => cell[4])),
  });
  return e.finish({
    length_ns: 100e6,
    tick_ns: 10e6,
    cell_tick_ns: 10e6,
    processes: [{ pid: 7, ended: "exit", exit_status: 0, end_ns: 100e6, allocations: 1 }],
    threads: [
      { process: 0, tid: 1, name: "main" },
      { process: 0, tid: 2, name: "worker" },
    ],
    allocators: ["malloc", "object"],
    ...meta,
  });
}

export function randomly(seed: number): () => number {
  let at = seed >>> 0;
  return () => {
    at = (Math.imul(at, 1664525) + 1013904223) >>> 0;
    return at / 2 ** 32;
  };
}

export function randomProfile(seed: number, nodes: number): Uint8Array {
  const random = randomly(seed);
  const pick = (n: number) => Math.floor(random() * n);
  const roots = ["/app/", SITE, "/usr/lib/python3.12/"];
  const frames = Array.from({ length: 24 }, (_, i) => ({
    file: i === 0 ? "<frozen importlib._bootstrap>" : `${roots[i % 3]}f${i % 7}.py`,
    name: `fn${i % 9}`,
    line: 1 + (i % 5),
  }));
  const stacks: SmallStack[] = [{ parent: 0, frame: 0, kind: 0 }];
  for (let i = 1; i < nodes; i++) {
    const parent = pick(i);
    const kind = parent === 0 && random() < 0.05 ? 2 : 1;
    stacks.push({ parent: stacks[parent]!.kind === 2 ? 0 : parent, frame: kind === 2 ? 0 : 1 + pick(24), kind });
  }
  const stats = Array.from({ length: nodes * 2 }, () => ({
    stack: pick(nodes),
    peak: pick(1000),
    live: pick(100),
    thread: pick(2),
    allocator: pick(2),
  })).sort((x, y) => x.stack - y.stack);
  const cells = Array.from({ length: nodes * 2 }, (): [number, number, number, number, number] => [
    pick(stats.length),
    pick(10),
    random() < 0.3 ? 0 : 1 + pick(9),
    1,
    pick(500),
  ]);
  return encodeSmall(frames, stacks, stats, cells);
}
