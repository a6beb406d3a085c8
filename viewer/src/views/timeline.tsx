/* Heap, RSS and its parts, arenas and each process over time; what happened; what the range that is chosen holds. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { app } from "../app.ts";
import { Chart, columnOf, type Line, type Places, placesOf, sampleAt } from "../canvas/chart.ts";
import { pointAt } from "../data/curve.ts";
import { cellTicks } from "../data/select.ts";
import { rankBy } from "../data/sums.ts";
import { go, state } from "../state.ts";
import { clean, count, share, size, time } from "../text.ts";
import { Check, Meter, openSite, Place } from "../ui/bits.tsx";
import { chooseMoment, chooseRange, flagsOf, rangeShown } from "../ui/shell.tsx";
import { palette } from "../ui/theme.ts";

const shown = signal({ heap: true, rss: true, parts: false, arena: false, pss: false, processes: false });
const at = signal<{ index: number; x: number; y: number } | null>(null);

const PROCESS_COLOURS = ["--rss", "--arena", "--file-pages", "--shared", "--grown", "--accent"];

function linesOf(): { places: Places; x: number[]; lines: Line[] } {
  const a = app.value!;
  const curve = a.curve.value;
  const s = shown.value;
  const places = placesOf(curve, a.profile.meta.tick_ns);
  const { x } = places;
  const lines: Line[] = [];
  if (s.heap)
    lines.push({
      name: "heap",
      colour: "--heap",
      fill: "--heap-fill",
      values: columnOf(places, curve.high, curve.heap),
    });
  if (s.rss) lines.push({ name: "RSS", colour: "--rss", values: columnOf(places, curve.rss), dash: [5, 3] });
  if (s.parts) {
    lines.push({ name: "anonymous", colour: "--accent", values: columnOf(places, curve.anon), width: 1 });
    lines.push({ name: "file pages", colour: "--file-pages", values: columnOf(places, curve.file), width: 1 });
    lines.push({ name: "shared", colour: "--shared", values: columnOf(places, curve.shared), width: 1 });
    if (curve.pool.some((value) => value >= 0))
      lines.push({ name: "given out by libraries", colour: "--grown", values: columnOf(places, curve.pool), width: 1 });
  }
  if (s.pss) lines.push({ name: "PSS", colour: "--ink-2", values: columnOf(places, curve.pss), dash: [2, 3] });
  if (s.arena) lines.push({ name: "arenas", colour: "--arena", values: columnOf(places, curve.arena), width: 1 });
  if (s.processes)
    a.profile.meta.processes.forEach((process, row) => {
      if (process.allocations === 0) return;
      const own = a.curveOf(row);
      lines.push({
        name: `${process.pid}`,
        colour: PROCESS_COLOURS[row % PROCESS_COLOURS.length]!,
        values: sampleAt(own, own.heap, places),
        width: 1,
      });
    });
  return { places, x, lines };
}

function Tip() {
  const where = at.value;
  if (!where) return null;
  const { places, x, lines } = linesOf();
  const curve = app.value!.curve.value;
  const point = places.point[where.index] ?? -1;
  const left = where.x > innerWidth - 260 ? where.x - 230 : where.x + 16;
  return (
    <div class="tip" aria-hidden="true" style={{ left: `${left}px`, top: `${where.y + 14}px` }}>
      <div class="what">{time((x[where.index] ?? 0) * 1e9)}</div>
      <table>
        <tbody>
          {lines.map((line) => (
            <tr key={line.name}>
              <td>
                <span class="legend">
                  <span>
                    <i style={{ background: `var(${line.colour})` }} />
                    {line.name === "heap" ? "heap, highest" : line.name}
                  </span>
                </span>
              </td>
              <td class="number">{line.values[where.index] === null ? "" : size(line.values[where.index] ?? 0)}</td>
            </tr>
          ))}
          {point >= 0 && (
            <tr>
              <td class="dim">heap at the tick's end</td>
              <td class="number dim">{size(curve.heap[point] ?? 0)}</td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

/* What the chosen range says, in four numbers. */
function RangeFacts() {
  const a = app.value!;
  const range = rangeShown();
  if (!range) return null;
  const { meta } = a.profile;
  const curve = a.curve.value;
  const ticks = meta.cell_tick_ns;
  const from = range.from_ns >= meta.length_ns ? meta.length_ns : Math.floor(range.from_ns / ticks) * ticks;
  const to = range.to_ns >= meta.length_ns ? meta.length_ns : Math.floor(range.to_ns / ticks) * ticks;
  let highest = 0;
  let when = from;
  for (let i = 0; i < curve.length; i++)
    if (curve.end_ns[i]! > from && curve.end_ns[i]! <= Math.max(to, from + 1) && curve.high[i]! > highest) {
      highest = curve.high[i]!;
      when = curve.end_ns[i]!;
    }
  const held = pointAt(curve, from);
  if (held >= 0 && curve.heap[held]! > highest) {
    highest = curve.heap[held]!;
    when = from;
  }
  const sum = (mode: "born" | "alive" | "kept" | "allocated") =>
    a.weighOther({ moment: "range", mode, from_ns: from, to_ns: to }).total;
  const modes = [
    { mode: "allocated" as const, text: "allocated in it", hint: `of blocks that outlived a tick of ${time(ticks)}` },
    { mode: "born" as const, text: "allocated in it and alive at its end", hint: "" },
    { mode: "kept" as const, text: "allocated in it and never freed", hint: "" },
    { mode: "alive" as const, text: `alive at ${time(to)}`, hint: "" },
  ];
  const one = state.value.mode === "alive";
  return (
    <section class="card" aria-label="The range">
      <header>
        <h2>{one ? `At ${time(to)}` : `${time(from)} to ${time(to)}`}</h2>
        <span class="answer">{cellTicks(a.profile) > 1 ? `rounded down to ticks of ${time(ticks)}` : ""}</span>
      </header>
      <table class="rows">
        <colgroup>
          <col class="size" />
          <col class="count" />
          <col />
        </colgroup>
        <tbody>
          {modes.map(({ mode, text, hint }) => {
            if (one && mode !== "alive") return null;
            const total = sum(mode);
            return (
              <tr key={mode} aria-current={state.value.mode === mode}>
                <td class="number">{size(total.bytes)}</td>
                <td class="number dim">{count(total.blocks)} ×</td>
                <td>
                  <button type="button" class="link" onClick={() => go({ mode })}>
                    {text}
                  </button>
                  {hint && <span class="dim"> {hint}</span>}
                </td>
              </tr>
            );
          })}
          {!one && (
            <tr>
              <td class="number">{size(highest)}</td>
              <td class="number dim" />
              <td>
                <button type="button" class="link" onClick={() => go({ mode: "highest" })}>
                  highest moment in it
                </button>
                <span class="dim"> within the tick that ends at {time(when)}</span>
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </section>
  );
}

function TopLines() {
  const a = app.value!;
  const p = a.profile;
  const w = a.weights.value;
  const rows = rankBy(p.stackYours, p.statStack, p.sites, w.bytes, w.blocks).slice(0, 8);
  const most = rows[0]?.bytes ?? 0;
  return (
    <section class="card" aria-label="Heaviest lines">
      <header>
        <h2>{size(w.total.bytes)}</h2>
        <span class="answer">{clean(a.title(a.selection.value))}</span>
      </header>
      <table class="rows">
        <colgroup>
          <col class="size" />
          <col class="share" />
          <col class="gauge" />
          <col class="place" />
          <col class="source" />
        </colgroup>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key}>
              <td class="number">{size(row.bytes)}</td>
              <td class="number dim">{share(row.bytes, w.total.bytes)}</td>
              <td>
                <Meter part={row.bytes} whole={most} />
              </td>
              <td class="place">
                <Place siteKey={row.key} onOpen={() => openSite(row.key)} />
              </td>
              <td class="source">{a.names.source(row.key)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <footer>
        <button type="button" class="link" onClick={() => go({ view: "flame", zoom: [], sandwich: -1 })}>
          Flame graph
        </button>
        <button type="button" class="link" onClick={() => go({ view: "table" })}>
          Table
        </button>
      </footer>
    </section>
  );
}

function Marks() {
  const a = app.value!;
  const { meta } = a.profile;
  const marks = meta.marks.filter(
    (mark) => a.selection.value.process < 0 || mark.process < 0 || mark.process === a.selection.value.process,
  );
  if (marks.length === 0) return null;
  return (
    <section class="card" aria-label="What happened">
      <header>
        <h2>What happened</h2>
        <span class="answer">{count(marks.length)}</span>
      </header>
      <table class="rows">
        <colgroup>
          <col class="size" />
          <col class="count" />
          <col class="count" />
          <col />
        </colgroup>
        <tbody>
          {marks.slice(0, 200).map((mark, i) => (
            <tr key={i}>
              <td class="number">
                <button type="button" class="link" onClick={() => chooseMoment(mark.time_ns)}>
                  {time(mark.time_ns)}
                </button>
              </td>
              <td>{clean(mark.kind)}</td>
              <td class="dim">{meta.processes[mark.process]?.pid ?? ""}</td>
              <td>{clean(mark.name)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

export function TimelineView() {
  const a = app.value!;
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<Chart | null>(null);
  const curve = a.curve.value;
  const { theme } = palette.value;
  const s = shown.value;
  useEffect(() => {
    chart.current = new Chart(host.current!, {
      compact: false,
      onRange: chooseRange,
      onMoment: chooseMoment,
      onHover(index, x, y) {
        at.value = index === null ? null : { index, x, y };
      },
    });
    return () => {
      chart.current?.destroy();
      at.value = null;
    };
  }, []);
  useEffect(() => {
    const { x, lines } = linesOf();
    chart.current?.set({ x, lines, flags: flagsOf(), length_ns: a.profile.meta.length_ns, range: rangeShown() });
  }, [curve, theme, s, a]);
  const range = rangeShown();
  useEffect(() => chart.current?.setRange(range), [range?.from_ns, range?.to_ns]);
  const toggle = (name: keyof typeof s) => (on: boolean) => {
    shown.value = { ...shown.value, [name]: on };
  };
  const { lines } = linesOf();
  return (
    <main id="view" tabindex={-1}>
      <div class="toolbar" role="toolbar" aria-label="Timeline">
        <Check text="heap" checked={s.heap} onChange={toggle("heap")} />
        <Check text="RSS" checked={s.rss} onChange={toggle("rss")} />
        <Check text="parts of RSS" checked={s.parts} onChange={toggle("parts")} />
        <Check text="PSS" checked={s.pss} onChange={toggle("pss")} />
        <Check
          text="arenas"
          title="Mapped by the interpreter's own allocator"
          checked={s.arena}
          onChange={toggle("arena")}
        />
        {a.profile.meta.processes.length > 1 && (
          <Check text="each process" checked={s.processes} onChange={toggle("processes")} />
        )}
        <span class="spring" />
        <span class="legend">
          {lines.map((line) => (
            <span key={line.name}>
              <i style={{ background: `var(${line.colour})` }} />
              {line.name}
            </span>
          ))}
        </span>
      </div>
      <div class="timeline">
        <div
          class="chart"
          role="img"
          aria-label="Heap and resident memory over time. Drag to choose a range, click for a moment; with the keyboard, choose Range of time above and type its ends."
          ref={host}
        />
        <div class="below">
          <div class="cards inset">
            <RangeFacts />
            <TopLines />
            <Marks />
          </div>
        </div>
      </div>
      <Tip />
    </main>
  );
}
