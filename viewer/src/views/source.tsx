/* A file as it ran, with what each line took, gave back and held, and which expression it was. */
import { computed, signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type App, app } from "../app.ts";
import { indexOfBytes, type Word, wordsOf } from "../data/highlight.ts";
import {
  type FileRow,
  filesOf,
  type LineRow,
  linesOf,
  SPARKS,
  type Span,
  spansOf,
  sparksOf,
  sumOf,
} from "../data/lines.ts";
import { sandwich } from "../data/tree.ts";
import { go, state } from "../state.ts";
import { clean, count, share, size } from "../text.ts";
import { Check, editorLink, Growth, Meter, openSite, Place, showCallers } from "../ui/bits.tsx";

const ROW = 20;
const SPARE = 20;

const leaf = computed(() => state.value.leaf);
const askedFile = computed(() => state.value.file);
const files = computed(() => (app.value ? filesOf(app.value, leaf.value) : []));

/** The file shown: the one asked for, else the heaviest whose text is there. */
const file = computed(() => {
  const a = app.value;
  if (!a) return -1;
  const asked = askedFile.value;
  if (asked >= 0 && asked < a.profile.files) return asked;
  return files.value.find((row) => a.profile.hasSource(row.file))?.file ?? files.value[0]?.file ?? -1;
});

const lines = computed(() => (app.value ? linesOf(app.value, file.value, leaf.value) : new Map<number, LineRow>()));
const sparks = computed(() =>
  app.value ? sparksOf(app.value, file.value, leaf.value) : new Map<number, Float64Array>(),
);
const words = computed(() => {
  const a = app.value;
  const text = a?.profile.source(file.value);
  return a && text ? wordsOf(a.profile.path(file.value), text.map(clean)) : null;
});
const spans = computed(() => {
  const byLine = new Map<number, Span[]>();
  if (app.value)
    for (const span of spansOf(app.value, file.value))
      for (let line = span.line; line <= Math.min(span.end_line, span.line + 50); line++) {
        const list = byLine.get(line);
        if (list) list.push(span);
        else byLine.set(line, [span]);
      }
  return byLine;
});

const showAll = signal(false);

function Files({ rows, chosen, total }: { rows: FileRow[]; chosen: number; total: number }) {
  const a = app.value!;
  const most = rows[0]?.selected ?? 0;
  const shown = showAll.value ? rows : rows.slice(0, 60);
  return (
    <nav class="files" aria-label="Files">
      {shown.map((row) => (
        <button
          key={row.file}
          type="button"
          aria-current={row.file === chosen ? "true" : undefined}
          title={a.profile.path(row.file)}
          onClick={() => go({ file: row.file, line: 0 })}
        >
          <span class="path">
            <bdi>{clean(a.profile.label(row.file))}</bdi>
          </span>
          <span class="number dim" title={share(row.selected, total)}>
            {row.selected > 0 ? size(row.selected) : ""}
          </span>
          <Meter part={row.selected} whole={most} />
        </button>
      ))}
      {shown.length < rows.length && (
        <button type="button" onClick={() => (showAll.value = true)}>
          <span class="dim">{count(rows.length - shown.length)} more files</span>
        </button>
      )}
    </nav>
  );
}

/* A line's words with the expressions of weight underlined. */
function Code({ text, marks, least }: { text: Word[]; marks: Span[]; least: number }) {
  const whole = text.map((word) => word.text).join("");
  if (marks.length === 0)
    return (
      <pre>
        {text.map((word, i) => (
          <span key={i} class={word.kind || undefined}>
            {word.text}
          </span>
        ))}
      </pre>
    );
  const hot = new Uint8Array(whole.length);
  for (const span of marks) {
    if (span.weight < least) continue;
    const first = /\S/.exec(whole)?.index ?? 0;
    const one = span.line === span.end_line;
    const from =
      one || span.from > 0
        ? Math.max(first, span.line === span.end_line ? indexOfBytes(whole, span.from) : first)
        : first;
    const to = one ? indexOfBytes(whole, span.to) : whole.length;
    hot.fill(1, from, to);
  }
  const out: { text: string; kind: string; hot: boolean }[] = [];
  let at = 0;
  for (const word of text) {
    let from = 0;
    for (let i = 1; i <= word.text.length; i++)
      if (i === word.text.length || hot[at + i] !== hot[at + from]) {
        out.push({ text: word.text.slice(from, i), kind: word.kind, hot: hot[at + from] === 1 });
        from = i;
      }
    at += word.text.length;
  }
  return (
    <pre>
      {out.map((part, i) =>
        part.hot ? (
          <u key={i} class={part.kind || undefined}>
            {part.text}
          </u>
        ) : (
          <span key={i} class={part.kind || undefined}>
            {part.text}
          </span>
        ),
      )}
    </pre>
  );
}

function Spark({ values, most }: { values: Float64Array | undefined; most: number }) {
  if (!values || most <= 0 || values.every((value) => value < most / 200)) return <span />;
  const height = 16;
  let path = `M0 ${height}`;
  for (let i = 0; i < SPARKS; i++) {
    const y = (height - (Math.max(0, values[i]!) / most) * (height - 1)).toFixed(1);
    path += `L${(i * 70) / SPARKS} ${y}L${((i + 1) * 70) / SPARKS} ${y}`;
  }
  return (
    <svg width="70" height={height} viewBox={`0 0 70 ${height}`} aria-hidden="true">
      <path d={`${path}L70 ${height}Z`} />
    </svg>
  );
}

function mostOf(all: Map<number, Float64Array>): number {
  let most = 0;
  for (const spark of all.values()) for (const value of spark) most = Math.max(most, value);
  return most;
}

function siteOnLine(a: App, file: number, line: number): number {
  /* of several functions on a line, the one with the most */
  const sites = new Map<number, number>();
  const p = a.profile;
  const w = a.weights.value;
  const charged = leaf.value ? p.stackLeaf : p.stackYours;
  for (let i = 0; i < p.stats; i++) {
    const site = charged[p.statStack[i]!]!;
    if (p.siteLine[site] === line && p.siteFile(site) === file) sites.set(site, (sites.get(site) ?? 0) + w.bytes[i]!);
  }
  let best = -1;
  for (const [site, weight] of sites) if (best < 0 || weight > sites.get(best)!) best = site;
  if (best >= 0) return best;
  for (let site = 0; site < p.sites; site++) if (p.siteLine[site] === line && p.siteFile(site) === file) return site;
  return -1;
}

const identity = computed(() => {
  const n = app.value?.names.count ?? 0;
  return Int32Array.from({ length: n }, (_, i) => i);
});

function Callers({ line }: { line: number }) {
  const a = app.value!;
  const site = siteOnLine(a, file.value, line);
  if (site < 0) return null;
  const tree = a.wholeTree.value;
  tree.weights = a.wholeSums.value;
  const both = sandwich(tree, identity.value, site, site, a.names.count);
  const list = (graph: typeof both.callers) => {
    const { list, start, count } = graph.children(0);
    const rows = [];
    for (let i = start; i < start + count; i++) rows.push({ key: graph.key(list[i]!), bytes: graph.weight(list[i]!) });
    return rows.sort((x, y) => y.bytes - x.bytes).slice(0, 12);
  };
  const total = both.callers.weight(0);
  const Side = ({ title, rows, none }: { title: string; rows: { key: number; bytes: number }[]; none: string }) => (
    <div>
      <h3>{title}</h3>
      {rows.length === 0 ? (
        <p class="dim inset-text">{none}</p>
      ) : (
        <table class="rows">
          <colgroup>
            <col class="size" />
            <col class="share" />
            <col />
          </colgroup>
          <tbody>
            {rows.map((row) => (
              <tr key={row.key}>
                <td class="number">{size(row.bytes)}</td>
                <td class="number dim">{share(row.bytes, total)}</td>
                <td class="place">
                  <Place siteKey={row.key} onOpen={() => openSite(row.key)} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
  return (
    <section class="callers" aria-label={`Line ${line}`}>
      <h3>
        Line {line}, {a.names.name(site)}: {size(total)} {clean(a.title(a.selection.value))}, with all that it called{" "}
        <button type="button" class="link" onClick={() => showCallers(site)}>
          in the flame graph
        </button>{" "}
        <button type="button" class="link" onClick={() => go({ line: 0 })}>
          close
        </button>
      </h3>
      <div class="two">
        <Side title="Called from" rows={list(both.callers)} none="nothing: it is where stacks begin" />
        <Side title="Calls" rows={list(both.callees)} none="nothing that was recorded: it took the memory itself" />
      </div>
    </section>
  );
}

function Lines({ text, path }: { text: Word[][] | null; path: string }) {
  const a = app.value!;
  const s = state.value;
  const host = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(900);
  const byLine = lines.value;
  const total = a.weights.value.total.bytes;
  const most = [...byLine.values()].reduce((top, row) => Math.max(top, row.selected), 0);
  /* without the text, the lines that are known */
  const numbers = text ? null : [...byLine.keys()].sort((x, y) => x - y);
  const n = text ? text.length : numbers!.length;
  useLayoutEffect(() => {
    const element = host.current!;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    setHeight(element.clientHeight);
    return () => observer.disconnect();
  }, []);
  const shownFile = file.value;
  useEffect(() => {
    /* to the line asked for, else to the heaviest */
    let line = s.line;
    if (line === 0) for (const [number, row] of byLine) if (row.selected === most && most > 0) line = number;
    const at = numbers ? numbers.indexOf(line) : line - 1;
    const element = host.current!;
    const y = at * ROW;
    if (y < element.scrollTop + 2 * ROW || y > element.scrollTop + element.clientHeight - 4 * ROW)
      element.scrollTop = Math.max(0, y - element.clientHeight / 2.6);
    setTop(element.scrollTop);
  }, [shownFile, s.line, n]);
  const from = Math.max(0, Math.floor(top / ROW) - SPARE);
  const to = Math.min(n, Math.ceil((top + height) / ROW) + SPARE);
  const sparkMost = mostOf(sparks.value);
  /* the selection is one of the other columns: then its share is more use */
  const column = s.moment === "peak" || s.moment === "end" || s.moment === "allocated";
  const show = (bytes: number) => (bytes > 0 ? size(bytes) : "");
  const rows = [];
  for (let i = from; i < to; i++) {
    const number = numbers ? numbers[i]! : i + 1;
    const row = byLine.get(number);
    const heat = row && total > 0 ? row.selected / total : 0;
    const link = editorLink(path, number);
    rows.push(
      // biome-ignore lint/a11y/useKeyWithClickEvents: keys are handled by the list
      // biome-ignore lint/a11y/useFocusableInteractive: one row has the focus at a time, by the list
      <div
        key={number}
        class="line"
        role="row"
        aria-current={s.line === number ? "true" : undefined}
        style={{
          top: `${28 + i * ROW}px`,
          background: heat > 0 ? `rgba(var(--heat), ${(0.06 + 0.32 * Math.sqrt(heat)).toFixed(3)})` : "",
        }}
        onClick={() => go({ file: shownFile, line: s.line === number ? 0 : number }, "replace")}
      >
        {/* biome-ignore-start lint/a11y/useSemanticElements: cells of such a row */}
        {a.old ? (
          <span class="number" role="cell">
            {row && (row.selected || row.before) ? <Growth now={row.selected} before={row.before} /> : ""}
          </span>
        ) : (
          <span class="number" role="cell">
            {row && row.selected > 0 ? (column ? share(row.selected, total) : size(row.selected)) : ""}
          </span>
        )}
        <span class="number" role="cell">
          {row ? show(row.allocated) : ""}
        </span>
        <span class="number" role="cell">
          {row ? show(row.peak) : ""}
        </span>
        <span class="number" role="cell">
          {row ? show(row.end) : ""}
        </span>
        <span class="number" role="cell">
          {row && row.count > 0 ? count(row.count) : ""}
        </span>
        <span role="cell">
          <Spark values={sparks.value.get(number)} most={sparkMost} />
        </span>
        <span class="no" role="cell">
          {link !== "" ? (
            <a href={link} title="Open in the editor" tabindex={-1} onClick={(event) => event.stopPropagation()}>
              {number || "?"}
            </a>
          ) : (
            number || "?"
          )}
        </span>
        <span role="cell">
          {text ? (
            <Code text={text[i]!} marks={spans.value.get(number) ?? []} least={total / 1000} />
          ) : (
            <pre class="dim">…</pre>
          )}
        </span>
        {/* biome-ignore-end lint/a11y/useSemanticElements: cells of such a row */}
      </div>,
    );
  }
  const move = (by: number) => {
    const known = [...byLine.entries()]
      .filter(([, row]) => row.selected > 0 || row.allocated > 0)
      .map(([line]) => line);
    known.sort((x, y) => x - y);
    if (known.length === 0) return;
    const next = by > 0 ? known.find((line) => line > s.line) : known.filter((line) => line < s.line).pop();
    if (next !== undefined) go({ file: shownFile, line: next }, "replace");
  };
  return (
    <div
      class="lines"
      ref={host}
      role="table"
      aria-label="Lines"
      aria-rowcount={n}
      tabindex={0}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={(event) => {
        if (event.key === "ArrowDown" || event.key === "ArrowUp") {
          move(event.key === "ArrowDown" ? 1 : -1);
          event.preventDefault();
        } else if (event.key === "Escape") go({ line: 0 }, "replace");
      }}
    >
      {/* biome-ignore-start lint/a11y/useSemanticElements: as above */}
      {/* biome-ignore-start lint/a11y/useFocusableInteractive: a head of columns that does nothing */}
      <div class="head-of-lines" role="row">
        <span class="number" role="columnheader" title={clean(a.title(a.selection.value))}>
          {a.old ? "Growth" : column ? "Share" : "Selected"}
        </span>
        <span class="number" role="columnheader">
          Allocated
        </span>
        <span class="number" role="columnheader">
          At peak
        </span>
        <span class="number" role="columnheader">
          At end
        </span>
        <span class="number" role="columnheader">
          Count
        </span>
        <span role="columnheader">Over time</span>
        <span class="number" role="columnheader">
          Line
        </span>
        <span role="columnheader">Source</span>
      </div>
      {/* biome-ignore-end lint/a11y/useFocusableInteractive: a head of columns that does nothing */}
      {/* biome-ignore-end lint/a11y/useSemanticElements: as above */}
      {rows}
      <div style={{ height: `${n * ROW + 40}px` }} />
    </div>
  );
}

export function SourceView() {
  const a = app.value!;
  const s = state.value;
  const shown = file.value;
  if (shown < 0)
    return (
      <main id="view" tabindex={-1}>
        <p class="empty">No file took memory in this selection.</p>
      </main>
    );
  const path = a.profile.path(shown);
  const sum = sumOf(lines.value);
  const total = a.weights.value.total.bytes;
  const link = editorLink(path, s.line || 1);
  return (
    <main id="view" tabindex={-1}>
      <div class="split">
        <Files rows={files.value} chosen={shown} total={total} />
        <div class="code">
          <header>
            <h2 title={path}>{clean(a.profile.label(shown))}</h2>
            <span class="dim">
              {size(sum.selected)} {share(sum.selected, total)}
            </span>
            {a.old && <Growth now={sum.selected} before={sum.before} />}
            <span class="spring" />
            <Check
              text="innermost frames"
              title="Charge the innermost frame, also inside libraries, instead of your line that called it"
              checked={s.leaf}
              onChange={(on) => go({ leaf: on })}
            />
            {link !== "" && (
              <a class="button" href={link}>
                Open in the editor
              </a>
            )}
          </header>
          <Lines text={words.value} path={path} />
          {!words.value && <p class="dim inset-text">The text of this file is not in the report.</p>}
          {s.line > 0 && <Callers line={s.line} />}
        </div>
      </div>
    </main>
  );
}
