/* The flame graph with what is around it: choices, the way to the frame that fills it, what the chosen frame is. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type App, app } from "../app.ts";
import type { Origins } from "../canvas/colours.ts";
import { type Box, FlameCanvas, type FlameData } from "../canvas/flame.ts";
import { agesOf } from "../data/ages.ts";
import { Origin } from "../data/model.ts";
import type { CallTree, Folding, Graph } from "../data/tree.ts";
import { go, state } from "../state.ts";
import { clean, count, share, signedCount, signedSize, size, time } from "../text.ts";
import { Check, Choice, copy, editorLink, inUnit, openSite, Segments, showCallers } from "../ui/bits.tsx";
import { palette } from "../ui/theme.ts";

interface Seen {
  key: number /* -1: the root or the rest */;
  text: string;
  place: string;
  source: string;
  weight: number;
  before: number | null;
  total: number;
  merged: number;
  extra: string;
}

const hovered = signal<{ seen: Seen; x: number; y: number } | null>(null);
const chosen = signal<{ seen: Seen; graph: Graph; node: number } | null>(null);

/** The node that a path of keys leads to, and how far of it there is. */
function follow(graph: Graph, path: number[]): number {
  let node = 0;
  for (const key of path) {
    const { list, start, count } = graph.children(node);
    let next = -1;
    for (let i = start; i < start + count && next < 0; i++) if (graph.key(list[i]!) === key) next = list[i]!;
    if (next < 0) return node;
    node = next;
  }
  return node;
}

function pathTo(graph: Graph, node: number): number[] {
  const path: number[] = [];
  for (; node > 0; node = graph.parent(node)) path.push(graph.key(node));
  return path.reverse();
}

function originOf(a: App, key: number): Origins {
  if (!a.names.isLine(key)) return "special";
  if (a.names.isYours(key)) return "yours";
  if (a.names.isNative(key)) return "native";
  switch (a.names.origin(key)) {
    case Origin.STDLIB:
      return "stdlib";
    case Origin.FROZEN:
      return "frozen";
    case Origin.NATIVE:
      return "native";
    default:
      return "module";
  }
}

type Part = "all" | "callers" | "callees";

/* Numbers of a node beyond its width, where the graph is the profile's own tree. */
function detailsOf(a: App, graph: Graph, node: number): { weight: number; before: number | null } {
  const { tree } = a.drawn.value;
  if (graph !== tree) return { weight: graph.weight(node), before: null };
  return { weight: a.sums.value[node]!, before: a.oldSums.value?.[node] ?? null };
}

function seeBox(a: App, graph: Graph, box: Box): Seen {
  const rootKey = graph.key(0);
  const total = a.old ? (a.sums.value[0] ?? 0) : graph.weight(0);
  if (box.node < 0)
    return {
      key: -1,
      text: `${count(box.merged)} narrower ${box.merged === 1 ? "frame" : "frames"}`,
      place: "",
      source: "",
      weight: box.weight,
      before: null,
      total,
      merged: box.merged,
      extra: "zoom into the frame above to see them",
    };
  const key = box.node === 0 ? rootKey : graph.key(box.node);
  const { weight, before } = detailsOf(a, graph, box.node);
  const extra: string[] = [];
  if (graph === a.drawn.value.tree && box.node > 0) {
    const own = a.own.value[box.node]!;
    extra.push(own > 0 ? `${inUnit(own)} of it by the line itself` : "all of it in calls below");
    const ages = state.value.colour === "age" ? agesOf(a) : null;
    if (ages && weight > 0 && ages[box.node]! >= 0) extra.push(`allocated at ${time(ages[box.node]!)} on average`);
  }
  return {
    key,
    text: key < 0 ? "all" : a.names.name(key),
    place: key < 0 ? "" : a.names.place(key),
    source: key < 0 ? "" : a.names.source(key),
    weight,
    before,
    total,
    merged: 0,
    extra: extra.join(", "),
  };
}

function dataFor(a: App, graph: Graph, path: number[], flip: boolean): FlameData {
  const { names } = a;
  const { colours } = palette.value;
  const { colour } = state.value;
  const total = a.old ? (a.sums.value[0] ?? 0) : graph.weight(0);
  const { tree } = a.drawn.value;
  const own = graph === tree;
  const sums = a.sums.value;
  const before = a.oldSums.value;
  const bytes = state.value.unit === "bytes";
  const signed = bytes ? signedSize : signedCount;
  const labels = new Map<number, string>();
  const sources = new Map<number, string>();
  const paints = new Map<number, ReturnType<typeof colours.of>>();
  const ages = colour === "age" && own ? agesOf(a) : null;
  const length = a.profile.meta.length_ns;
  const root = graph.key(0);
  const byChange = before !== null && own && (colour === "change" || colour === "module");
  return {
    graph,
    zoom: follow(graph, path),
    total,
    flip,
    matches: a.matches.value,
    rootLabel: root < 0 ? `all ${a.title(a.selection.value)}` : names.label(root),
    label(key) {
      let text = labels.get(key);
      if (text === undefined) {
        text = names.label(key);
        labels.set(key, text);
      }
      return text;
    },
    source(key) {
      let text = sources.get(key);
      if (text === undefined) {
        text = names.source(key);
        sources.set(key, text);
      }
      return text;
    },
    amount(node) {
      const weight = own ? sums[node]! : graph.weight(node);
      const text = bytes ? size(weight) : count(weight);
      if (before && own) return `${signed(weight - before[node]!)}   ${text}`;
      return `${text}   ${share(weight, total)}`;
    },
    paint(node) {
      if (byChange) {
        const change = sums[node]! - before![node]!;
        return colours.ofChange(change / Math.max(1, sums[node]!, before![node]!));
      }
      if (ages && node > 0)
        return ages[node]! < 0 ? colours.of("special", "") : colours.ofAge(1 - ages[node]! / length);
      const key = node === 0 ? root : graph.key(node);
      let paint = paints.get(key);
      if (!paint) {
        paint = key < 0 ? colours.of("special", "") : colours.of(originOf(a, key), names.module(key));
        paints.set(key, paint);
      }
      return paint;
    },
  };
}

/** Text of a frame's stack, outermost call first, for the clipboard. */
function stackText(a: App, graph: Graph, node: number): string {
  const lines: string[] = [];
  for (let at = node; at > 0; at = graph.parent(at)) lines.push(a.names.label(graph.key(at)));
  return lines.reverse().join("\n");
}

const handles = new Map<Part, FlameCanvas>();

/** For keys that work wherever the reader is on the page. */
export function flameMatch(direction: 1 | -1): void {
  const canvas = handles.get("all") ?? handles.get("callees");
  if (canvas?.nextMatch(direction)) canvas.focus();
}

function Picture({ part, graph, flip }: { part: Part; graph: Graph; flip: boolean }) {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<FlameCanvas | null>(null);
  const a = app.value!;
  const current = useRef(graph);
  current.current = graph;
  useEffect(() => {
    const select = (box: Box) => {
      const now = app.value!;
      chosen.value = { seen: seeBox(now, current.current, box), graph: current.current, node: box.node };
    };
    const made = new FlameCanvas(host.current!, {
      zoom(node) {
        const s = state.value;
        if (part !== "all") return;
        const path = pathTo(current.current, node);
        if (path.join() !== s.zoom.join()) go({ zoom: path });
      },
      hover(box, x, y) {
        hovered.value = box ? { seen: seeBox(app.value!, current.current, box), x, y } : null;
      },
      select,
      key(event, box) {
        return frameKey(event, current.current, box);
      },
    });
    canvas.current = made;
    handles.set(part, made);
    return () => {
      made.destroy();
      handles.delete(part);
      hovered.value = null;
    };
  }, [part]);
  const zoom = part === "all" ? state.value.zoom : [];
  const data = dataFor(a, graph, zoom, flip);
  useEffect(() => {
    canvas.current?.set(data, palette.value.look);
    const box = canvas.current?.selected;
    if (part === "all" && box) chosen.value = { seen: seeBox(a, graph, box), graph, node: box.node };
  });
  return (
    <div
      class="flame"
      ref={host}
      tabindex={0}
      role="application"
      aria-label={
        part === "all"
          ? "Flame graph. Arrow keys move between frames, Enter zooms in, Escape out; the table has the same numbers."
          : part === "callers"
            ? "Callers. Arrow keys move between frames."
            : "Callees. Arrow keys move between frames."
      }
      aria-describedby="frame-detail"
    />
  );
}

function frameKey(event: KeyboardEvent, graph: Graph, box: Box | null): boolean {
  const a = app.value!;
  const s = state.value;
  const node = box && box.node > 0 ? box.node : -1;
  switch (event.key) {
    case "Escape":
    case "Backspace":
      if (s.zoom.length > 0) go({ zoom: s.zoom.slice(0, -1) });
      else if (s.sandwich >= 0) go({ sandwich: -1 });
      return true;
    case "s":
      if (node > 0) showCallers(graph.key(node));
      return true;
    case "o":
      if (node > 0) openSite(graph.key(node));
      return true;
    case "c":
      if (node > 0) copy(stackText(a, graph, node), "Stack");
      return true;
    default:
      return false;
  }
}

const FOLDS: { name: keyof Folding; text: string; title: string; native?: boolean }[] = [
  { name: "imports", text: "imports", title: "Fold the import machinery away" },
  {
    name: "internals",
    text: "interpreter",
    title: "Fold away frozen modules, the start of threads and the interpreter's own frames",
  },
  {
    name: "libraries",
    text: "libraries",
    title: "Show only frames of your own code; what libraries took is charged to the line that called them",
  },
  { name: "recursion", text: "recursion", title: "Lines that are below themselves are one frame" },
  { name: "native", text: "native code", title: "Fold frames of C, C++ and other native code away", native: true },
];

function Tools() {
  const a = app.value!;
  const s = state.value;
  const ages = s.moment !== "allocated" && s.moment !== "temporary";
  return (
    <div class="toolbar" role="toolbar" aria-label="Flame graph">
      <Segments
        label="Direction"
        value={s.inverted ? "inverted" : "calls"}
        onChoose={(value) => go({ inverted: value === "inverted", zoom: [], sandwich: -1 })}
        choices={[
          { value: "calls", text: "Calls", title: "From the program's start inwards" },
          { value: "inverted", text: "Inverted", title: "From where memory was taken, outwards (i)" },
        ]}
      />
      <button
        type="button"
        class="button"
        aria-pressed={s.flip}
        title="The other way up (f)"
        onClick={() => go({ flip: !s.flip })}
      >
        Flip
      </button>
      <span class="dim">Fold</span>
      {FOLDS.filter((fold) => !fold.native || a.profile.hasNative).map((fold) => (
        <Check
          key={fold.name}
          text={fold.text}
          title={fold.title}
          checked={s.folding[fold.name]}
          onChange={(on) => go({ folding: { ...s.folding, [fold.name]: on }, zoom: [] })}
        />
      ))}
      <span class="spring" />
      <Legend />
      <Choice
        label="Colour"
        value={s.colour}
        onChoose={(colour) => go({ colour: colour as typeof s.colour })}
        choices={[
          { value: "module", text: a.old ? "colour: change" : "colour: module" },
          ...(ages ? [{ value: "age", text: "colour: age" }] : []),
        ]}
      />
    </div>
  );
}

function Legend() {
  const a = app.value!;
  const { colours } = palette.value;
  if (state.value.colour === "age")
    return (
      <span class="legend">
        young
        <span>
          {[0, 0.25, 0.5, 0.75, 1].map((age) => (
            <i key={age} style={{ background: colours.ofAge(age).fill, marginRight: "1px" }} />
          ))}
        </span>
        old
      </span>
    );
  if (a.old)
    return (
      <span class="legend">
        shrank
        <span>
          {[-1, -0.5, 0, 0.5, 1].map((change) => (
            <i key={change} style={{ background: colours.ofChange(change).fill, marginRight: "1px" }} />
          ))}
        </span>
        grew
      </span>
    );
  const entries: [Origins, string][] = [
    ["yours", "your code"],
    ["module", "packages"],
    ["stdlib", "standard library"],
  ];
  if (a.profile.hasNative) entries.push(["native", "native"]);
  return (
    <span class="legend">
      {entries.map(([origin, text]) => (
        <span key={origin}>
          <i style={{ background: colours.of(origin, "numpy").fill }} />
          {text}
        </span>
      ))}
    </span>
  );
}

function Crumbs({ graph }: { graph: Graph }) {
  const a = app.value!;
  const s = state.value;
  const path = pathTo(graph, follow(graph, s.zoom));
  const first = Math.max(0, path.length - 5);
  return (
    <nav class="crumbs" aria-label="Zoom">
      <button type="button" class="link" disabled={path.length === 0} onClick={() => go({ zoom: [] })}>
        all
      </button>
      {first > 0 && <span>› …</span>}
      {path.slice(first).map((key, i) => (
        <>
          <span aria-hidden="true">›</span>
          <button type="button" class="link" onClick={() => go({ zoom: path.slice(0, first + i + 1) })}>
            {a.names.label(key)}
          </button>
        </>
      ))}
      {path.length === 0 && <span>click a frame to zoom in, Esc or the browser's back to return</span>}
    </nav>
  );
}

function Numbers({ seen }: { seen: Seen }) {
  const bytes = state.value.unit === "bytes";
  const text = bytes ? size(seen.weight) : `${count(seen.weight)} blocks`;
  return (
    <>
      {text} <span class="dim">{share(seen.weight, seen.total)}</span>
      {seen.before !== null && (
        <span class={seen.weight >= seen.before ? "grown" : "shrunk"}>
          {" "}
          {(bytes ? signedSize : signedCount)(seen.weight - seen.before)}
        </span>
      )}
    </>
  );
}

export function Detail() {
  const a = app.value!;
  const at = chosen.value;
  const seen = at?.seen;
  const path = seen && seen.key >= 0 ? a.names.path(seen.key) : "";
  const link = seen && seen.key >= 0 ? editorLink(path, a.names.line(seen.key)) : "";
  return (
    <div class="detail">
      <div class="what" id="frame-detail" aria-live="polite">
        {seen ? (
          <>
            {seen.place || seen.text}
            {seen.place && <span> {seen.text}</span>} <Numbers seen={seen} />
          </>
        ) : (
          <span class="dim">No frame chosen</span>
        )}
      </div>
      <div class="more">
        {seen?.source && <code>{seen.source}</code>} {seen?.extra}
      </div>
      <div class="actions">
        <button type="button" class="button" disabled={!seen || seen.key < 0} onClick={() => openSite(seen!.key)}>
          Source
        </button>
        <button type="button" class="button" disabled={!seen || seen.key < 0} onClick={() => showCallers(seen!.key)}>
          Callers & callees
        </button>
        <button
          type="button"
          class="button"
          disabled={!at || at.node <= 0}
          onClick={() => copy(stackText(a, at!.graph, at!.node), "Stack")}
        >
          Copy stack
        </button>
        {link !== "" && (
          <a class="button" href={link}>
            Editor
          </a>
        )}
      </div>
    </div>
  );
}

export function FrameTip() {
  const at = hovered.value;
  if (!at) return null;
  const { seen } = at;
  const wide = 420;
  const left = Math.max(8, Math.min(at.x + 14, innerWidth - wide));
  const below = at.y + 22;
  const style =
    below > innerHeight - 130
      ? { left: `${left}px`, bottom: `${innerHeight - at.y + 12}px` }
      : { left: `${left}px`, top: `${below}px` };
  return (
    <div class="tip" aria-hidden="true" style={style}>
      <div class="what">
        {seen.place || seen.text}
        {seen.place && <span class="dim"> {seen.text}</span>}
      </div>
      {seen.source && <code>{seen.source}</code>}
      <div class="numbers">
        <Numbers seen={seen} />
        {seen.extra && <span class="dim"> {seen.extra}</span>}
      </div>
    </div>
  );
}

export function FlameView() {
  const a = app.value!;
  const s = state.value;
  const { tree } = a.drawn.value;
  const empty = (tree as CallTree).weights[0] === 0;
  const both = a.sandwiched.value;
  const graph: Graph = s.inverted ? a.inverted.value : tree;
  return (
    <main id="view" tabindex={-1}>
      <Tools />
      {empty ? (
        <p class="empty">Nothing {clean(a.title(a.selection.value))} in this selection.</p>
      ) : both ? (
        <>
          <div class="flame-title">
            <button type="button" class="link" onClick={() => go({ sandwich: -1 })}>
              ← back to the whole
            </button>{" "}
            Callers of <b>{a.names.name(a.names.functionKey(s.sandwich))}</b>, {inUnit(both.callers.weight(0))}
            <span class="dim"> (with everything that it called)</span>
          </div>
          <Picture part="callers" graph={both.callers} flip={true} />
          <div class="flame-title">What it called</div>
          <Picture part="callees" graph={both.callees} flip={false} />
        </>
      ) : (
        <>
          <Crumbs graph={graph} />
          <Picture part="all" graph={graph} flip={s.flip} />
        </>
      )}
      <Detail />
      <FrameTip />
    </main>
  );
}
