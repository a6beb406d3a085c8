/* The verdict in words, and the questions that people come with, each with its answer's first lines. */

import { computed } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type App, app } from "../app.ts";
import { Chart, columnOf, placesOf } from "../canvas/chart.ts";
import { pointAt } from "../data/curve.ts";
import { EVERYTHING, type Selection, type Weights, weigh } from "../data/select.ts";
import { type Row, rankBy } from "../data/sums.ts";
import { go, type State, state } from "../state.ts";
import { clean, count, share, size, time } from "../text.ts";
import { Meter, openSite, Place } from "../ui/bits.tsx";
import { chooseMoment, chooseRange, flagsOf, rangeShown } from "../ui/shell.tsx";
import { palette } from "../ui/theme.ts";

const LINES = 6;

/* Computed once for the whole recording: the cards are about it, whatever part of it is selected. */
function answers(a: App) {
  const p = a.profile;
  const rank = (w: Weights) => rankBy(p.stackYours, p.statStack, p.sites, w.bytes, w.blocks);
  const of = (selection: Partial<Selection>) => {
    const weights = weigh(p, { ...EVERYTHING, ...selection });
    return { weights, rows: rank(weights) };
  };
  const growth = growthRange(a);
  return {
    peak: of({ moment: "peak" }),
    end: of({ moment: "end" }),
    churn: of({ moment: "temporary", within: 1 }),
    grew: of({ moment: "range", mode: "born", from_ns: growth.from_ns, to_ns: growth.to_ns }),
    growth,
  };
}

const answered = computed(() => (app.value ? answers(app.value) : null));

/* From when the heap was last half as high to the peak, or between the program's own first and last mark. */
function growthRange(a: App): { from_ns: number; to_ns: number; why: string } {
  const { meta } = a.profile;
  const curve = a.curveOf(-1);
  const said = meta.marks.filter((mark) => mark.kind === "mark");
  if (said.length >= 2) {
    const first = said[0]!;
    const last = said[said.length - 1]!;
    if (last.time_ns > first.time_ns)
      return {
        from_ns: first.time_ns,
        to_ns: last.time_ns,
        why: `between the marks “${clean(first.name)}” and “${clean(last.name)}”`,
      };
  }
  const peak = meta.totals.peak_ns;
  const at = pointAt(curve, peak);
  const high = curve.length > 0 ? curve.heap[Math.max(0, at)]! : 0;
  let from = 0;
  for (let i = 0; i <= at; i++) if (curve.heap[i]! <= high / 2) from = curve.end_ns[i]!;
  const tick = meta.cell_tick_ns;
  const to = Math.min(meta.length_ns, Math.ceil(peak / tick) * tick);
  if (from >= to) from = 0;
  const before = pointAt(curve, from);
  const held = before >= 0 ? curve.heap[before]! : 0;
  return { from_ns: from, to_ns: to, why: `from ${size(held)} at ${time(from)} to the peak at ${time(peak)}` };
}

function Rows({ rows, total, counts, onMore }: { rows: Row[]; total: number; counts: boolean; onMore: () => void }) {
  const a = app.value!;
  const shown = rows.slice(0, rows.length === LINES + 1 ? LINES + 1 : LINES);
  const rest = rows.slice(shown.length);
  const most = shown[0]?.bytes ?? 0;
  const totalBlocks = rows.reduce((all, row) => all + row.blocks, 0);
  const sum = (pick: (row: Row) => number) => rest.reduce((all, row) => all + pick(row), 0);
  if (rows.length === 0) return <p class="dim">Nothing.</p>;
  return (
    <table class="rows">
      <colgroup>
        <col class="size" />
        <col class="share" />
        {counts ? <col class="count" /> : <col class="gauge" />}
        <col class="place" />
        <col class="source" />
      </colgroup>
      <thead class="hidden-text">
        <tr>
          <th>Bytes</th>
          <th>Share</th>
          <th>{counts ? "Allocations" : "Bar"}</th>
          <th>Line and function</th>
          <th>Source</th>
        </tr>
      </thead>
      <tbody>
        {shown.map((row) => (
          <tr key={row.key} class="opens" onClick={() => openSite(row.key)}>
            <td class="number">{size(row.bytes)}</td>
            <td class="number dim">{counts ? share(row.blocks, totalBlocks) : share(row.bytes, total)}</td>
            {counts ? (
              <td class="number dim">{count(row.blocks)} ×</td>
            ) : (
              <td>
                <Meter part={row.bytes} whole={most} />
              </td>
            )}
            <td class="place">
              <Place siteKey={row.key} onOpen={() => openSite(row.key)} />
            </td>
            <td class="source" title={a.names.source(row.key)}>
              {a.names.source(row.key)}
            </td>
          </tr>
        ))}
        {rest.length > 0 && (
          <tr class="rest">
            <td class="number">{size(sum((row) => row.bytes))}</td>
            <td class="number">
              {counts
                ? share(
                    sum((row) => row.blocks),
                    totalBlocks,
                  )
                : share(
                    sum((row) => row.bytes),
                    total,
                  )}
            </td>
            {counts ? <td class="number">{count(sum((row) => row.blocks))} ×</td> : <td />}
            <td colspan={2}>
              <button type="button" class="link" onClick={onMore}>
                {count(rest.length)} other {rest.length === 1 ? "line" : "lines"}
              </button>
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

function Question({
  title,
  answer,
  text,
  rows,
  total,
  counts,
  change,
}: {
  title: string;
  answer: string;
  text?: string;
  rows: Row[];
  total: number;
  counts?: boolean;
  change: Partial<State>;
}) {
  const all = { process: -1, thread: -1, allocator: -1, region: "", zoom: [], sandwich: -1, ...change };
  const show = (view: State["view"]) => go({ ...all, view });
  return (
    <section class="card" aria-label={title}>
      <header>
        <h2>{title}</h2>
        <span class="answer number">{answer}</span>
      </header>
      {text && <p>{text}</p>}
      <Rows rows={rows} total={total} counts={counts === true} onMore={() => show("table")} />
      <footer>
        <button type="button" class="link" onClick={() => show("flame")}>
          Flame graph
        </button>
        <button type="button" class="link" onClick={() => show("table")}>
          Table
        </button>
        <button type="button" class="link" onClick={() => show("source")}>
          Source
        </button>
        <button type="button" class="link" onClick={() => show("timeline")}>
          Timeline
        </button>
      </footer>
    </section>
  );
}

function RssCard() {
  const a = app.value!;
  const { meta } = a.profile;
  const parts = meta.rssAtPeak;
  const value = (name: string) => (typeof parts?.[name] === "number" ? (parts[name] as number) : 0);
  const rss = value("rss_bytes");
  const rows: [string, number, string][] = [];
  if (parts) {
    rows.push(["heap", value("heap_bytes"), "what the program held"]);
    if (value("arena_slack_bytes") > 0)
      rows.push([
        "slack in the interpreter's arenas",
        value("arena_slack_bytes"),
        "mapped, no live object: fragmentation",
      ]);
    if (value("pool_bytes") > 0)
      rows.push([`given out by ${clean(meta.pools) || "libraries"} itself`, value("pool_bytes"), "in no line"]);
    rows.push(["file pages", value("file_bytes"), "programs and libraries"]);
    rows.push(["shared memory", value("shared_bytes"), "heapline's own included"]);
    const rest = value("rest_bytes");
    rows.push(
      rest < 0
        ? ["of the heap not resident then", rest, "not touched by then, or swapped out"]
        : ["other", rest, "caches of allocators, stacks, static data"],
    );
  }
  const mappings = new Map<string, number>();
  for (const m of meta.mappings) if (m.peak > 0) mappings.set(m.class, (mappings.get(m.class) ?? 0) + m.peak);
  return (
    <section class="card" aria-label="Why does RSS differ from the heap?">
      <header>
        <h2>Why does RSS differ from the heap?</h2>
        <span class="answer number">{parts ? `${size(rss)} resident` : ""}</span>
      </header>
      <p>
        {parts
          ? `${size(rss)} was resident at ${time(value("time_ns") || value("time_s") * 1e9)}, ${parts.at_peak === false ? "the sample next to" : "with"} the heap at its peak.`
          : "Resident memory was not sampled."}
      </p>
      <table class="rows">
        <colgroup>
          <col class="size" />
          <col class="gauge" />
          <col />
          <col />
        </colgroup>
        <thead class="hidden-text">
          <tr>
            <th>Bytes</th>
            <th>Bar</th>
            <th>Part</th>
            <th>What it is</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, bytes, what]) => (
            <tr key={name}>
              <td class="number">{size(bytes)}</td>
              <td>
                <Meter part={bytes} whole={Math.max(rss, value("heap_bytes"))} />
              </td>
              <td>{name}</td>
              <td class="dim">{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <footer>
        <button type="button" class="link" onClick={() => go({ view: "timeline" })}>
          RSS over time
        </button>
        {mappings.size > 0 && (
          <span class="dim">
            mapped at most: {[...mappings].map(([name, bytes]) => `${name} ${size(bytes)}`).join(", ")}
          </span>
        )}
      </footer>
    </section>
  );
}

function Facts() {
  const { meta } = app.value!.profile;
  const t = meta.totals;
  const notes = meta.notes.filter((note) => note.text !== "");
  const lines: [string, string][] = [
    [
      "Heap",
      `peak ${size(t.peak_bytes)} in ${count(t.peak_blocks)} blocks at ${time(t.peak_ns)}; ${meta.end_words} ${size(t.end_bytes)} in ${count(t.end_blocks)} blocks`,
    ],
    ["Allocated", `${size(t.allocated)} in ${count(t.allocations)} allocations`],
    ["Freed", `${size(t.freed)} in ${count(t.frees)} frees (${share(t.freed, t.allocated)})`],
    ["RSS", `peak ${size(t.rss_peak)}`],
  ];
  if (t.arena_peak > 0) lines.push(["Arenas", `peak ${size(t.arena_peak)} mapped by the interpreter's own allocator`]);
  lines.push([
    "Program",
    `${meta.python ? `Python ${meta.python}, ` : ""}${count(meta.threads.filter((th, row) => th.base === row).length)} threads, ${count(meta.processes.length)} ${meta.processes.length === 1 ? "process" : "processes"}`,
  ]);
  lines.push(["Command", clean(meta.command)]);
  if (meta.lost > 0) lines.push(["Incomplete", `${count(meta.lost)} events were not recorded`]);
  if (meta.budget.folded_nodes > 0)
    lines.push([
      "Folded",
      `${count(meta.budget.folded_nodes)} of the call tree's nodes are in “(other)” so that this file stays within ${size(meta.budget.bytes)}; none of them had more than ${size(meta.budget.folded_bytes_most)} at the peak`,
    ]);
  const left = meta.left_out.private + meta.left_out.budget;
  if (left > 0)
    lines.push([
      "Source",
      `${count(left)} ${left === 1 ? "file is" : "files are"} left out (${meta.left_out.private > 0 ? "others may not read them" : "too large for this file"})`,
    ]);
  for (const note of notes.slice(0, 8)) lines.push(["Note", clean(note.text)]);
  return (
    <section class="card" aria-label="The recording">
      <header>
        <h2>The recording</h2>
        <span class="answer number">{time(meta.length_ns)}</span>
      </header>
      <dl class="facts">
        {lines.map(([name, text]) => (
          <>
            <dt>{name}</dt>
            <dd>{text}</dd>
          </>
        ))}
      </dl>
    </section>
  );
}

function OverviewChart() {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const a = app.value!;
  const curve = a.curveOf(-1);
  const { theme } = palette.value;
  useEffect(() => {
    chart.current = new Chart(host.current!, { compact: false, onRange: chooseRange, onMoment: chooseMoment });
    return () => chart.current?.destroy();
  }, []);
  useEffect(() => {
    const places = placesOf(curve, a.profile.meta.tick_ns);
    chart.current?.set({
      x: places.x,
      lines: [
        { name: "heap", colour: "--heap", fill: "--heap-fill", values: columnOf(places, curve.high, curve.heap) },
        { name: "RSS", colour: "--rss", values: columnOf(places, curve.rss), dash: [5, 3] },
      ],
      flags: flagsOf(),
      length_ns: a.profile.meta.length_ns,
      range: rangeShown(),
    });
  }, [curve, theme, a]);
  const range = rangeShown();
  useEffect(() => chart.current?.setRange(range), [range?.from_ns, range?.to_ns]);
  return <div class="chart" role="img" aria-label="Heap and RSS over time" ref={host} />;
}

export function Overview() {
  const a = app.value!;
  const { meta } = a.profile;
  const { peak, end, churn, grew, growth } = answered.value!;
  void state.value.view;
  const [ending, ...others] = meta.verdict;
  const sentence = others.find((line) => /^(peak|peaks|nothing)/.test(line)) ?? others[0] ?? "";
  const rest = others.filter((line) => line !== sentence);
  const bad = /failed|killed|incomplete/.test(ending ?? "");
  const growing = grew.weights.total.bytes;
  return (
    <main class="scrolls" id="view" tabindex={-1}>
      <div class="overview">
        <h1>{clean(sentence.charAt(0).toUpperCase() + sentence.slice(1))}</h1>
        <p class={bad ? "lead bad" : "lead"}>{clean(ending ?? "")}</p>
        {rest.map((line) => (
          <p class="lead" key={line}>
            {clean(line)}
          </p>
        ))}
        <OverviewChart />
        <div class="legend">
          <span>
            <i style={{ background: "var(--heap)" }} />
            heap
          </span>
          <span>
            <i style={{ background: "var(--rss)" }} />
            resident (RSS)
          </span>
          <span class="dim">drag over the curve for a range of time, click for a moment</span>
        </div>
        <div class="cards">
          <Question
            title="What held memory at the peak?"
            answer={size(peak.weights.total.bytes)}
            rows={peak.rows}
            total={peak.weights.total.bytes}
            change={{ moment: "peak" }}
          />
          <Question
            title={meta.running ? "What is still held?" : "What is still held at the end?"}
            answer={size(end.weights.total.bytes)}
            rows={end.rows}
            total={end.weights.total.bytes}
            change={{ moment: "end" }}
          />
          <Question
            title="What grew?"
            answer={`+${size(growing)}`}
            text={`Allocated ${growth.why}, and still alive then.`}
            rows={grew.rows}
            total={growing}
            change={{ moment: "range", mode: "born", from_ns: growth.from_ns, to_ns: growth.to_ns }}
          />
          <Question
            title="What churns?"
            answer={`${count(churn.weights.total.blocks)} × temporary, ${size(churn.weights.total.bytes)}`}
            text="Freed again at once: at most one later allocation of the same thread had happened."
            rows={[...churn.rows].sort((x, y) => y.blocks - x.blocks)}
            total={churn.weights.total.bytes}
            counts
            change={{ moment: "temporary", within: 1 }}
          />
          <RssCard />
          <Facts />
        </div>
      </div>
    </main>
  );
}
