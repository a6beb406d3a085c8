/* Functions that were profiled line by line: what each execution of a line took and gave back, callees included. */
import { computed } from "@preact/signals";
import { type App, app } from "../app.ts";
import { NULL } from "../data/decode.ts";
import { wordsOf } from "../data/highlight.ts";
import { clean, count, size } from "../text.ts";
import { editorLink, goToSource } from "../ui/bits.tsx";

interface LineSum {
  hits: number;
  allocated: number;
  freed: number;
  allocations: number;
  highest: number;
  temporary: number;
  largest: number;
  rss: number /* -1: not looked at */;
}

interface ProfiledFunction {
  file: number;
  name: string;
  first: number;
  last: number;
  processes: number;
  lines: Map<number, LineSum>;
  total: LineSum;
}

const nothing = (): LineSum => ({
  hits: 0,
  allocated: 0,
  freed: 0,
  allocations: 0,
  highest: 0,
  temporary: 0,
  largest: 0,
  rss: -1,
});

function add(to: LineSum, from: LineSum): void {
  to.hits += from.hits;
  to.allocated += from.allocated;
  to.freed += from.freed;
  to.allocations += from.allocations;
  to.temporary += from.temporary;
  to.highest = Math.max(to.highest, from.highest);
  to.largest = Math.max(to.largest, from.largest);
  to.rss = Math.max(to.rss, from.rss);
}

/** Functions with equal file, name and first line are one. In the order in which they were first called. */
export function profiledOf(a: App, process: number): ProfiledFunction[] {
  const p = a.profile;
  const { payload } = p;
  const n = payload.rows("line_function");
  const of = payload.ints("line_function", "process");
  const file = payload.has("line_function", "file")
    ? payload.references("line_function", "file", p.files)
    : new Int32Array(n).fill(NULL);
  const name = payload.references("line_function", "name", p.strings.length);
  const first = payload.ints("line_function", "first_line");
  const last = payload.ints("line_function", "last_line");
  const known = new Map<string, ProfiledFunction>();
  const functions: (ProfiledFunction | null)[] = [];
  for (let i = 0; i < n; i++) {
    if (process >= 0 && of[i] !== process) {
      functions.push(null);
      continue;
    }
    const key = `${file[i]} ${first[i]} ${name[i]}`;
    let fn = known.get(key);
    if (!fn) {
      fn = {
        file: file[i]!,
        name: p.strings.get(name[i]!),
        first: first[i]!,
        last: last[i]!,
        processes: 0,
        lines: new Map(),
        total: nothing(),
      };
      known.set(key, fn);
    }
    fn.processes++;
    fn.last = Math.max(fn.last, last[i]!);
    functions.push(fn);
  }
  const rows = payload.rows("line_profile");
  const fn = payload.references("line_profile", "function", Math.max(1, n));
  const line = payload.ints("line_profile", "line");
  const column = (id: string) => payload.numbers("line_profile", id);
  const columns = {
    hits: column("hits"),
    allocated: column("allocated"),
    freed: column("freed"),
    allocations: column("allocations"),
    highest: column("highest"),
    temporary: column("temporary"),
    largest: column("largest"),
    rss: payload.has("line_profile", "rss") ? column("rss") : new Float64Array(rows).fill(NULL),
  };
  for (let i = 0; i < rows; i++) {
    const to = functions[fn[i]!];
    if (!to) continue;
    const sum: LineSum = {
      hits: columns.hits[i]!,
      allocated: columns.allocated[i]!,
      freed: columns.freed[i]!,
      allocations: columns.allocations[i]!,
      highest: columns.highest[i]!,
      temporary: columns.temporary[i]!,
      largest: columns.largest[i]!,
      rss: columns.rss[i]!,
    };
    const there = to.lines.get(line[i]!);
    if (there) add(there, sum);
    else to.lines.set(line[i]!, { ...sum });
    add(to.total, sum);
  }
  return [...known.values()].filter((f) => f.lines.size > 0);
}

const profiled = computed(() => (app.value ? profiledOf(app.value, app.value.selection.value.process) : []));

function FunctionTable({ fn }: { fn: ProfiledFunction }) {
  const a = app.value!;
  const p = a.profile;
  const text = fn.file >= 0 ? p.source(fn.file) : null;
  const numbers: number[] = [];
  if (text) for (let line = fn.first; line <= Math.min(fn.last, text.length); line++) numbers.push(line);
  else numbers.push(...[...fn.lines.keys()].sort((x, y) => x - y));
  for (const line of fn.lines.keys()) if (!numbers.includes(line)) numbers.push(line);
  const words = text ? wordsOf(p.path(fn.file), text.map(clean)) : null;
  const most = [...fn.lines.values()].reduce((top, row) => Math.max(top, row.allocated - row.freed, 0), 0);
  const withRss = fn.total.rss >= 0;
  const net = (row: LineSum) => row.allocated - row.freed;
  const link = fn.file >= 0 ? editorLink(p.path(fn.file), fn.first) : "";
  return (
    <section class="card" aria-label={fn.name}>
      <header>
        <h2>{clean(fn.name)}</h2>
        <span class="dim">
          {fn.file >= 0 ? clean(p.label(fn.file)) : "(unknown file)"}:{fn.first}
          {fn.processes > 1 ? `, ${count(fn.processes)} processes` : ""}
        </span>
        <span class="answer">
          {size(fn.total.allocated)} allocated, {size(fn.total.freed)} freed, net {size(net(fn.total))}
        </span>
      </header>
      <table class="rows profiled">
        <thead>
          <tr>
            <th class="number">Line</th>
            <th class="number">Hits</th>
            <th class="number">Allocated</th>
            <th class="number">Freed</th>
            <th class="number">Net</th>
            <th class="number" title="The most by which one execution had allocated more than freed">
              Highest
            </th>
            <th class="number" title="Allocated and freed within one execution">
              Temporary
            </th>
            <th class="number" title="The largest single allocation">
              Largest
            </th>
            {withRss && <th class="number">RSS</th>}
            <th class="text">Line contents</th>
          </tr>
        </thead>
        <tbody>
          {numbers.map((number) => {
            const row = fn.lines.get(number);
            const heat = row && most > 0 ? Math.max(0, net(row)) / most : 0;
            return (
              <tr key={number} style={{ background: heat > 0 ? `rgba(var(--heat), ${(0.38 * heat).toFixed(3)})` : "" }}>
                <td class="number dim">{number}</td>
                <td class="number">{row ? count(row.hits) : ""}</td>
                <td class="number">{row ? size(row.allocated) : ""}</td>
                <td class="number">{row ? size(row.freed) : ""}</td>
                <td class="number">{row ? size(net(row)) : ""}</td>
                <td class="number">{row ? size(row.highest) : ""}</td>
                <td class="number">{row ? size(row.temporary) : ""}</td>
                <td class="number">{row ? size(row.largest) : ""}</td>
                {withRss && <td class="number">{row && row.rss >= 0 ? size(row.rss) : ""}</td>}
                <td class="text">
                  <code>
                    {words?.[number - 1]?.map((word, i) => (
                      <span key={i} class={word.kind || undefined}>
                        {word.text}
                      </span>
                    ))}
                  </code>
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <footer>
        {fn.file >= 0 && (
          <button type="button" class="link" onClick={() => goToSource(fn.file, fn.first)}>
            Source
          </button>
        )}
        {link !== "" && (
          <a class="link" href={link}>
            Editor
          </a>
        )}
      </footer>
    </section>
  );
}

export function LinesView() {
  const functions = profiled.value;
  return (
    <main class="scrolls" id="view" tabindex={-1}>
      <div class="overview">
        <h1>Line profile</h1>
        <p class="lead">
          What the thread that ran a line allocated and freed while it was in the line, with everything that the line
          called. What other threads did meanwhile is not the line's.
        </p>
        {functions.length === 0 && <p class="empty">No function was profiled line by line in this recording.</p>}
        {functions.map((fn) => (
          <div class="profiled-function" key={`${fn.file} ${fn.first} ${fn.name}`}>
            <FunctionTable fn={fn} />
          </div>
        ))}
      </div>
    </main>
  );
}
