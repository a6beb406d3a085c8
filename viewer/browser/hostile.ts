/* A profile of a program that wants to get into the page: by the names of files, functions, threads, marks, its command,
 * and by its source text. */
import { Encoder } from "../test/encode.ts";

const TEXTS = [
  "<img src=x onerror=window.evil=true>",
  "</script><script>window.evil=true</script>",
  "<b id=evil>bold</b>",
  '" onmouseover="window.evil=true',
  "javascript:window.evil=true",
  "\u202eright to left\u0000\u001b[31m",
  "{{constructor.constructor('window.evil=true')()}}",
  "=cmd|' /C calc'!A0",
];

function make(factor: number): Uint8Array {
  const e = new Encoder();
  const column = (values: number[]) => ({ kind: "u" as const, values });
  const paths = ["/app/leak.py", ...TEXTS.map((text) => `/app/${text}.py`)];
  const source = new TextEncoder().encode(
    [
      "def leak(n):",
      "    kept = [bytes(n)]  # <img src=x onerror=window.evil=true>",
      "    return kept",
      "leak('</script>')",
      "",
    ].join("\n"),
  );
  e.table("source", { length: column([source.length]), text: { kind: "b", values: source } }, 1);
  e.table("file", {
    path: column(paths.map((path) => e.text(path))),
    label: column(paths.map((path) => e.text(path.replace("/app/", "")))),
    origin: column(paths.map(() => 0)),
    source: column(paths.map((_, i) => (i === 0 ? 1 : 0))),
  });
  const names = ["leak", ...TEXTS];
  e.table("function", {
    file: column(paths.map((_, i) => i)),
    name: column(names.map((name) => e.text(name))),
    first_line: column(paths.map(() => 1)),
  });
  const nothing = paths.map((_, i) => (i === 0 ? 11 : -1));
  e.table("frame", {
    function: column(paths.map((_, i) => i)),
    line: column(paths.map(() => 2)),
    end_line: { kind: "u", null: true, values: paths.map(() => 2) },
    col: { kind: "u", null: true, values: nothing },
    end_col: { kind: "u", null: true, values: nothing.map((at) => (at < 0 ? -1 : 21)) },
  });
  const n = paths.length;
  e.table("stack", {
    parent: { kind: "d", values: [0, ...paths.map(() => 0), ...paths.map((_, i) => i + 1)] },
    frame: column([0, ...paths.map((_, i) => i + 1), ...paths.map((_, i) => 1 + ((i + 1) % n))]),
    kind: column([0, ...paths.map(() => 1), ...paths.map(() => 1)]),
  });
  const rows = Array.from({ length: 2 * n }, (_, i) => i);
  const bytes = rows.map((i) => (i === 0 ? 9_000_000 : 100_000 * (i + 1)) * factor);
  e.table("stat", {
    stack: { kind: "d", values: rows.map((i) => i + 1) },
    process: column(rows.map(() => 0)),
    thread: { kind: "u", null: true, values: rows.map((i) => i % 2) },
    allocator: column(rows.map((i) => i % 2)),
    allocations: column(rows.map((i) => i + 1)),
    allocated: column(bytes.map((b) => b * 3)),
    live: column(bytes.map((b) => Math.floor(b / 7))),
    live_blocks: column(rows.map(() => 1)),
    peak: column(bytes),
    peak_blocks: column(rows.map(() => 2)),
    temporary_1_count: column(rows.map((i) => i)),
    temporary_1_bytes: column(bytes.map((b) => Math.floor(b / 3))),
  });
  e.table("cell", {
    stat: { kind: "d", values: rows },
    born: column(rows.map((i) => (i * 7) % 50)),
    lived: column(rows.map((i) => (i % 3 === 0 ? 0 : 10 + i))),
    blocks: column(rows.map(() => 1)),
    bytes: column(bytes),
  });
  const ticks = Array.from({ length: 100 }, (_, i) => i);
  const heap = ticks.map((i) => (i + 1) * 200_000);
  e.table("tick", {
    process: column(ticks.map(() => 0)),
    tick: { kind: "d", values: ticks },
    heap: column(heap),
    low: column(heap),
    high: column(heap),
    rss: { kind: "u", null: true, values: heap.map((h) => h + 5_000_000) },
  });
  e.table("line_function", {
    process: column([0]),
    file: { kind: "u", null: true, values: [0] },
    name: column([e.text(TEXTS[0]!)]),
    first_line: column([1]),
    last_line: column([3]),
  });
  const lines = [1, 2, 3];
  e.table("line_profile", {
    function: column([0, 0, 0]),
    line: column(lines),
    hits: column(lines),
    allocated: column([0, 9_000_000, 100]),
    freed: column([0, 1000, 100]),
    allocations: column(lines),
    highest: column([0, 9_000_000, 0]),
    temporary: column([0, 1000, 100]),
    largest: column([0, 8_000_000, 100]),
  });
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  return e.finish({
    title: TEXTS[1],
    verdict: [`${TEXTS[0]} ended well (exit status 0) after 1.00 s`, `peak 20 MB at 990 ms, most of it at ${TEXTS[2]}`],
    command: TEXTS.join(" "),
    editor: "javascript:window.evil=true//{path}",
    host: TEXTS[0],
    length_ns: 1e9,
    tick_ns: 1e7,
    cell_tick_ns: 1e7,
    totals: {
      peak_bytes: sum(bytes),
      peak_ns: 990e6,
      end_bytes: sum(bytes.map((b) => Math.floor(b / 7))),
      allocated: sum(bytes) * 3,
    },
    rss_at_peak: {
      time_ns: 990e6,
      at_peak: true,
      rss_bytes: 25e6,
      heap_bytes: 20e6,
      arena_slack_bytes: 1e6,
      pool_bytes: 0,
      file_bytes: 3e6,
      shared_bytes: 0,
      rest_bytes: 1e6,
    },
    processes: [
      {
        pid: 7,
        command: TEXTS[1],
        ended: "exit",
        exit_status: 0,
        end_ns: 1e9,
        allocations: 9,
        peak: sum(bytes),
        peak_ns: 990e6,
        allocated: sum(bytes) * 3,
        live: sum(bytes.map((b) => Math.floor(b / 7))),
      },
    ],
    threads: [
      { process: 0, tid: 1, name: TEXTS[0] },
      { process: 0, tid: 2, name: TEXTS[2] },
    ],
    allocators: ["malloc", TEXTS[2]],
    marks: [
      { time_ns: 1e8, process: 0, kind: "mark", name: TEXTS[0] },
      { time_ns: 5e8, process: 0, kind: "mark", name: TEXTS[1] },
    ],
    notes: [{ process: 0, text: TEXTS[2] }],
  });
}

export const hostile = () => make(2);
export const older = () => make(1);
