/* What is around every view: its name, the way to the others, the selection, the strip of time, the search. */
import { useEffect, useRef } from "preact/hooks";
import { app } from "../app.ts";
import { Chart, columnOf, type Flag, placesOf } from "../canvas/chart.ts";
import type { Moment, RangeMode } from "../data/select.ts";
import { go, START, state, type ViewName } from "../state.ts";
import { count, parseTime, share, size, time } from "../text.ts";
import { Choice, Growth, inUnit, Segments } from "./bits.tsx";
import { helpOpen } from "./help.tsx";
import { palette, theme, turnTheme } from "./theme.ts";

const TITLES: Record<ViewName, string> = {
  overview: "Overview",
  timeline: "Timeline",
  flame: "Flame graph",
  source: "Source",
  table: "Table",
  diff: "Growth",
  lines: "Line profile",
};

export function views(): ViewName[] {
  const a = app.value!;
  const all: ViewName[] = ["overview", "timeline", "flame", "source", "table"];
  if (a.old) all.push("diff");
  if (a.profile.payload.rows("line_profile") > 0) all.push("lines");
  return all;
}

export function Head() {
  const meta = app.value!.profile.meta;
  const program = meta.command.replace(/^.*\//, "");
  return (
    <header class="head">
      <div class="program">
        <strong>heapline</strong>
        <span title={meta.command}>{program}</span>
      </div>
      <nav aria-label="Views">
        {views().map((view, i) => (
          <a
            key={view}
            href={`#view=${view}`}
            aria-current={state.value.view === view ? "page" : undefined}
            title={`${TITLES[view]} (${i + 1})`}
            onClick={(event) => {
              event.preventDefault();
              go({ view });
            }}
          >
            {TITLES[view]}
          </a>
        ))}
      </nav>
      <div class="tools">
        <Search />
        <button type="button" class="button plain" title="Keys and words (?)" onClick={() => (helpOpen.value = true)}>
          Help
        </button>
        <button
          type="button"
          class="button plain"
          title="Light or dark"
          aria-label={theme.value === "dark" ? "Light colours" : "Dark colours"}
          onClick={turnTheme}
        >
          {theme.value === "dark" ? "☀" : "☾"}
        </button>
      </div>
    </header>
  );
}

function Search() {
  const a = app.value!;
  const { search } = state.value;
  const wrong = search !== "" && a.matches.value === null;
  const found = a.matched.value;
  const total = a.sums.value[0] ?? 0;
  return (
    <div class="search" role="search">
      <output aria-live="polite">
        {wrong ? "not a pattern" : found ? `${inUnit(found.sum)}  ${share(found.sum, total)}` : ""}
      </output>
      <input
        id="search"
        class={wrong ? "field wrong" : "field"}
        type="search"
        placeholder="Search  /"
        aria-label="Search frames by file, line or function (regular expression)"
        spellcheck={false}
        value={search}
        onInput={(event) => go({ search: event.currentTarget.value }, "replace")}
      />
    </div>
  );
}

const MODES: { value: RangeMode; text: string }[] = [
  { value: "born", text: "allocated in it, alive at its end" },
  { value: "alive", text: "alive at its end" },
  { value: "kept", text: "allocated in it, never freed" },
  { value: "highest", text: "its highest moment" },
  { value: "allocated", text: "allocated in it (outlived a tick)" },
];

const WITHIN = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

export function SelectionBar() {
  const a = app.value!;
  const s = state.value;
  const { meta } = a.profile;
  const weights = a.weights.value;
  const chooseMoment = (moment: Moment) => {
    if (moment !== "range") return go({ moment });
    /* without a range yet: the whole of it */
    const whole = s.to_ns <= s.from_ns;
    go({ moment, ...(whole ? { from_ns: 0, to_ns: meta.length_ns } : {}) });
  };
  const processes = meta.processes.length > 1;
  const threads = meta.threads.map((t, row) => ({ t, row })).filter(({ t, row }) => t.base === row);
  const regions = [...new Set(meta.threads.map((t) => t.region).filter((region) => region !== ""))].sort();
  const setTime = (key: "from_ns" | "to_ns", text: string) => {
    const at = parseTime(text, meta.length_ns);
    if (at !== null) go({ [key]: Math.min(at, meta.length_ns) });
  };
  const isPart = s.process >= 0 || s.thread >= 0 || s.allocator >= 0 || s.region !== "";
  return (
    <div class="bar-of-selection" role="region" aria-label="Selection">
      <Segments
        label="Which memory"
        value={s.moment}
        onChoose={chooseMoment}
        choices={[
          { value: "peak", text: "At the peak", title: "What was alive when the heap was highest" },
          { value: "end", text: meta.running ? "Still alive" : "At the end", title: meta.end_words },
          { value: "allocated", text: "Allocated", title: "Everything allocated, freed or not" },
          { value: "temporary", text: "Temporary", title: "Freed again soon" },
          { value: "range", text: "Range of time", title: "Drag over the curve to choose it" },
        ]}
      />
      {s.moment === "temporary" && (
        <Choice
          label="Freed within so many later allocations of the thread"
          value={String(WITHIN.filter((n) => n <= s.within).pop() ?? 0)}
          onChoose={(within) => go({ within: Number(within) })}
          choices={WITHIN.map((n) => ({
            value: String(n),
            text: n === 0 ? "before the next allocation" : `within ${n} allocation${n === 1 ? "" : "s"}`,
          }))}
        />
      )}
      {s.moment === "range" && (
        <span class="times">
          <Choice
            label="Which blocks"
            value={s.mode}
            onChoose={(mode) => go({ mode: mode as RangeMode })}
            choices={MODES}
          />
          {s.mode !== "alive" && (
            <input
              class="field"
              aria-label="From (12.5s, 850ms, 80%)"
              title="From: 12.5s, 850ms, 80%"
              value={time(weights.from_ns)}
              key={`from ${s.from_ns}`}
              onChange={(event) => setTime("from_ns", event.currentTarget.value)}
            />
          )}
          <input
            class="field"
            aria-label="To (12.5s, 850ms, 80%)"
            title="To: 12.5s, 850ms, 80%"
            value={time(s.to_ns > s.from_ns || s.mode === "alive" ? s.to_ns : meta.length_ns)}
            key={`to ${s.to_ns}`}
            onChange={(event) => setTime("to_ns", event.currentTarget.value)}
          />
        </span>
      )}
      {processes && (
        <Choice
          label="Process"
          value={String(s.process)}
          onChoose={(row) => go({ process: Number(row), thread: -1 })}
          choices={[
            { value: "-1", text: "all processes" },
            ...meta.processes.map((_, row) => ({ value: String(row), text: a.profile.processName(row) })),
          ]}
        />
      )}
      {threads.length > 1 && (
        <Choice
          label="Thread"
          value={String(s.thread)}
          onChoose={(row) => go({ thread: Number(row) })}
          choices={[
            { value: "-1", text: "all threads" },
            ...threads
              .filter(({ t }) => s.process < 0 || t.process === s.process)
              .map(({ row }) => ({ value: String(row), text: a.profile.threadName(row) })),
          ]}
        />
      )}
      {regions.length > 0 && (
        <Choice
          label="Region"
          value={s.region}
          onChoose={(region) => go({ region })}
          choices={[{ value: "", text: "all regions" }, ...regions.map((region) => ({ value: region, text: region }))]}
        />
      )}
      <Choice
        label="Allocator"
        value={String(s.allocator)}
        onChoose={(row) => go({ allocator: Number(row) })}
        choices={[
          { value: "-1", text: "all allocators" },
          ...meta.allocators.map((name, row) => ({ value: String(row), text: name })),
        ]}
      />
      <Segments
        label="Unit"
        value={s.unit}
        onChoose={(unit) => go({ unit })}
        choices={[
          { value: "bytes", text: "Bytes" },
          { value: "blocks", text: "Blocks" },
        ]}
      />
      {isPart && (
        <button
          type="button"
          class="button plain"
          onClick={() => go({ process: -1, thread: -1, allocator: -1, region: "" })}
        >
          ✕ all of it
        </button>
      )}
    </div>
  );
}

/** The peak, the ends of processes and what the program said, as flags on the curve. */
export function flagsOf(): Flag[] {
  const a = app.value!;
  const { meta } = a.profile;
  const process = a.selection.value.process;
  const flags: Flag[] = [];
  const peak = process < 0 ? meta.totals : meta.processes[process]!;
  const peakBytes = process < 0 ? meta.totals.peak_bytes : meta.processes[process]!.peak;
  flags.push({ time_ns: peak.peak_ns, text: `peak ${size(peakBytes)}`, tone: "peak" });
  for (const mark of meta.marks) {
    if (process >= 0 && mark.process >= 0 && mark.process !== process) continue;
    const pid = meta.processes[mark.process]?.pid;
    const who = meta.processes.length > 1 && pid !== undefined ? ` ${pid}` : "";
    if (mark.kind === "mark") flags.push({ time_ns: mark.time_ns, text: mark.name, tone: "mark" });
    else if (mark.kind === "region" || mark.kind === "track")
      flags.push({ time_ns: mark.time_ns, text: mark.name || mark.kind, tone: "region" });
    else if (mark.kind === "fork" || mark.kind === "exec")
      flags.push({ time_ns: mark.time_ns, text: `${mark.kind}${who}`, tone: "mark" });
  }
  meta.processes.forEach((p, row) => {
    if (process >= 0 && row !== process) return;
    const killed = p.ended === "signal" || (p.ended === "exit" && p.exit_status > 0);
    if (killed || (meta.processes.length > 1 && p.ended !== "running"))
      flags.push({
        time_ns: Math.min(p.end_ns, meta.length_ns),
        text: `${p.pid} ${p.ended === "signal" ? `killed by signal ${p.exit_status}` : p.ended === "exit" ? `exit ${p.exit_status}` : p.ended}`,
        tone: killed ? "death" : "mark",
      });
  });
  return flags.sort((x, y) => x.time_ns - y.time_ns);
}

export function rangeShown(): { from_ns: number; to_ns: number } | null {
  const s = state.value;
  if (s.moment !== "range") return null;
  const to_ns = s.to_ns > s.from_ns || s.mode === "alive" ? s.to_ns : app.value!.profile.meta.length_ns;
  return s.mode === "alive" ? { from_ns: to_ns, to_ns } : { from_ns: s.from_ns, to_ns };
}

export function chooseRange(from_ns: number, to_ns: number): void {
  const keep = state.value.moment === "range" && state.value.mode !== "alive";
  go({ moment: "range", from_ns, to_ns, mode: keep ? state.value.mode : START.mode });
}

export function chooseMoment(time_ns: number): void {
  go({ moment: "range", mode: "alive", from_ns: 0, to_ns: time_ns });
}

/** What is selected, as one number and in words. */
export function Sum() {
  const a = app.value!;
  const s = a.selection.value;
  const { total } = a.weights.value;
  const before = a.oldWeights.value?.total;
  const events = s.moment === "allocated" || s.moment === "temporary";
  return (
    <div class="sum" id="sum" data-bytes={total.bytes} data-blocks={total.blocks}>
      <strong>{size(total.bytes)}</strong>
      {before && <Growth now={total.bytes} before={before.bytes} />}
      <span>
        {count(total.blocks)} {events ? "allocations" : "blocks"} {a.title(s)}
      </span>
    </div>
  );
}

export function Strip() {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const a = app.value!;
  useEffect(() => {
    chart.current = new Chart(host.current!, { compact: true, onRange: chooseRange, onMoment: chooseMoment });
    return () => chart.current?.destroy();
  }, []);
  const curve = a.curve.value;
  const { theme } = palette.value;
  useEffect(() => {
    const places = placesOf(curve, a.profile.meta.tick_ns);
    chart.current?.set({
      x: places.x,
      lines: [
        {
          name: "heap",
          colour: "--heap",
          fill: "--heap-fill",
          values: columnOf(places, curve.high, curve.heap),
          width: 1,
        },
      ],
      flags: flagsOf(),
      length_ns: a.profile.meta.length_ns,
      range: rangeShown(),
    });
  }, [curve, theme, a]);
  const range = rangeShown();
  useEffect(() => chart.current?.setRange(range), [range?.from_ns, range?.to_ns]);
  return (
    <div class="strip">
      <Sum />
      <div
        class="strip-chart"
        role="img"
        aria-label="Heap over time. Drag to choose a range, click for one moment; with the keyboard, choose Range of time and type its ends."
        ref={host}
      />
    </div>
  );
}
