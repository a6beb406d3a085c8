/* A made-up profile of any size as a payload: a call tree of the usual shape (some paths heavy, most light, one very deep). */
import { Encoder } from "../test/encode.ts";

export function makeBig(nodes: number, ticks: number, deepest = 10_000): Uint8Array {
  const e = new Encoder();
  let seed = 12345;
  const random = () => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) / 0x1000000;
  };
  const pick = (n: number) => Math.floor(random() * n);
  const files = 600;
  const functions = 8_000;
  const frames = 40_000;
  const range = (n: number, of: (i: number) => number) => Float64Array.from({ length: n }, (_, i) => of(i));
  const origin = range(files, (i) => (i < 60 ? 0 : i < 420 ? 1 : 2));
  const path = (i: number) =>
    origin[i] === 0
      ? `/home/me/app/module_${i}.py`
      : origin[i] === 1
        ? `/venv/lib/python3.12/site-packages/package_${i % 40}/part_${i}.py`
        : `/usr/lib/python3.12/library_${i}.py`;
  const label = (i: number) => path(i).replace(/^(\/home\/me\/app\/|.*site-packages\/|\/usr\/lib\/python3.12\/)/, "");
  e.table("file", {
    path: { kind: "u", values: range(files, (i) => e.text(path(i))) },
    label: { kind: "u", values: range(files, (i) => e.text(label(i))) },
    origin: { kind: "r", values: origin },
  });
  const functionFile = range(functions, () => pick(files));
  e.table("function", {
    file: { kind: "u", values: functionFile },
    name: { kind: "u", values: range(functions, (i) => e.text(`Class${i % 300}.method_${i}`)) },
    first_line: { kind: "u", values: range(functions, () => 1 + pick(900)) },
  });
  e.table("frame", {
    function: { kind: "u", values: range(frames, () => pick(functions)) },
    line: { kind: "u", values: range(frames, () => 1 + pick(1000)) },
  });
  const parent = new Float64Array(nodes);
  const frame = new Float64Array(nodes);
  const kind = new Float64Array(nodes).fill(1);
  kind[0] = 0;
  const depth = new Int32Array(nodes);
  for (let i = 1; i < nodes; i++) {
    if (i < deepest) parent[i] = i - 1;
    else {
      /* mostly below something made lately: in the order of a walk, with branches */
      let at = random() < 0.7 ? i - 1 : Math.max(deepest === 0 ? 0 : 1, i - 1 - pick(Math.min(i, 400)));
      if (i === deepest) at = 0;
      while (depth[at]! > 40 && at > 0) at = parent[at]!;
      if (random() < 0.002) at = 0;
      parent[i] = at;
    }
    depth[i] = depth[parent[i]!]! + 1;
    frame[i] = 1 + pick(frames);
  }
  e.table("stack", {
    parent: { kind: "d", values: parent },
    frame: { kind: "u", values: frame },
    kind: { kind: "r", values: kind },
  });
  const weight = range(nodes, (i) => (i === 0 ? 0 : Math.floor(16 + random() ** 12 * 4_000_000)));
  const stack = range(nodes - 1, (i) => i + 1);
  const of = (share: number) => range(nodes - 1, (i) => (random() < share ? weight[i + 1]! : 0));
  const blocks = range(nodes - 1, () => 1 + pick(20));
  const peak = of(0.6);
  const live = of(0.1);
  const sum = (values: Float64Array) => values.reduce((all, value) => all + value, 0);
  const allocated = range(nodes - 1, (i) => weight[i + 1]! * 2);
  e.table("stat", {
    stack: { kind: "d", values: stack },
    process: { kind: "r", values: new Float64Array(nodes - 1) },
    thread: { kind: "u", values: range(nodes - 1, () => pick(8)) },
    allocator: { kind: "u", values: range(nodes - 1, () => pick(6)) },
    allocations: { kind: "u", values: blocks },
    allocated: { kind: "u", values: allocated },
    freed: { kind: "u", values: weight.subarray(1) },
    live: { kind: "u", values: live },
    live_blocks: { kind: "u", values: blocks },
    peak: { kind: "u", values: peak },
    peak_blocks: { kind: "u", values: blocks },
    temporary_1_count: { kind: "u", values: blocks },
    temporary_1_bytes: { kind: "u", values: of(0.3) },
  });
  const cells = Math.min(256 * 1024, nodes);
  e.table("cell", {
    stat: { kind: "d", values: range(cells, (i) => Math.floor((i * (nodes - 1)) / cells)) },
    born: { kind: "u", values: range(cells, () => pick(ticks)) },
    lived: { kind: "u", values: range(cells, () => (random() < 0.2 ? 0 : 1 + pick(ticks / 4))) },
    blocks: { kind: "u", values: range(cells, () => 1 + pick(5)) },
    bytes: { kind: "u", values: range(cells, () => Math.floor(16 + random() ** 8 * 2_000_000)) },
  });
  const heap = range(ticks, (i) => Math.floor(1e8 + 5e7 * Math.sin(i / 40) + i * 1e5));
  e.table("tick", {
    process: { kind: "r", values: new Float64Array(ticks) },
    tick: { kind: "d", values: range(ticks, (i) => i) },
    heap: { kind: "u", values: heap },
    low: { kind: "u", values: heap },
    high: { kind: "u", values: heap.map((value) => value + 1000) },
    arena: { kind: "r", values: new Float64Array(ticks).fill(1e6) },
    rss: { kind: "u", values: heap.map((value) => Math.floor(value * 0.9)), null: true },
  });
  const totals = {
    peak_bytes: sum(peak),
    peak_ns: (ticks / 2) * 1e7,
    peak_blocks: sum(blocks),
    end_bytes: sum(live),
    end_blocks: sum(blocks),
    allocated: sum(allocated),
    allocations: sum(blocks),
    freed: sum(weight),
    frees: 0,
    rss_peak: 2e8,
  };
  return e.finish({
    title: "a made-up profile",
    verdict: ["big.py ended well (exit status 0) after 10.00 s", "peak 1.00 GB at 5.00 s"],
    command: "big.py",
    length_ns: ticks * 1e7,
    tick_ns: 1e7,
    cell_tick_ns: 1e7,
    totals,
    processes: [
      {
        pid: 1,
        command: "big.py",
        ended: "exit",
        exit_status: 0,
        end_ns: ticks * 1e7,
        allocations: totals.allocations,
        allocated: totals.allocated,
        live: totals.end_bytes,
        peak: totals.peak_bytes,
        peak_ns: totals.peak_ns,
      },
    ],
    threads: Array.from({ length: 8 }, (_, i) => ({ process: 0, tid: 100 + i, name: `worker-${i}` })),
    allocators: ["malloc", "calloc", "realloc", "aligned", "object", "buffer"],
  });
}
