/*
 * What the page shows, as one object that lives in the address: a link to the page is a link to what is seen. Changes that
 * a person would want to take back make an entry of the browser's history; others (typing, dragging) replace the last.
 */
import { signal } from "@preact/signals";
import type { Moment, RangeMode } from "./data/select.ts";
import { type Folding, NO_FOLDING } from "./data/tree.ts";

export type ViewName = "overview" | "timeline" | "flame" | "source" | "table" | "diff" | "lines";
export const VIEWS: ViewName[] = ["overview", "timeline", "flame", "source", "table", "diff", "lines"];
export type Colour = "module" | "age" | "change";
export type Unit = "bytes" | "blocks";

export interface State {
  view: ViewName;
  moment: Moment;
  within: number;
  mode: RangeMode;
  from_ns: number;
  to_ns: number;
  process: number;
  thread: number;
  allocator: number;
  region: string;
  unit: Unit;
  search: string;
  folding: Folding;
  inverted: boolean;
  flip: boolean;
  colour: Colour;
  zoom: number[] /* keys from the root down to the frame that fills the width */;
  sandwich: number /* a function; -1: none */;
  group: string;
  sort: string /* a column, with "-" before it the other way round */;
  filter: string;
  leaf: boolean;
  file: number;
  line: number;
}

export const START: State = {
  view: "overview",
  moment: "peak",
  within: 1,
  mode: "born",
  from_ns: 0,
  to_ns: 0,
  process: -1,
  thread: -1,
  allocator: -1,
  region: "",
  unit: "bytes",
  search: "",
  folding: { ...NO_FOLDING, imports: true, internals: true },
  inverted: false,
  flip: false,
  colour: "module",
  zoom: [],
  sandwich: -1,
  group: "lines",
  sort: "",
  filter: "",
  leaf: false,
  file: -1,
  line: 0,
};

const MOMENTS: Moment[] = ["peak", "end", "allocated", "temporary", "range"];
const MODES: RangeMode[] = ["born", "alive", "kept", "highest", "allocated"];
const COLOURS: Colour[] = ["module", "age", "change"];
const FOLDS: [keyof Folding, string][] = [
  ["imports", "i"],
  ["internals", "p"],
  ["libraries", "l"],
  ["recursion", "r"],
  ["native", "n"],
];

const foldingText = (folding: Folding) =>
  FOLDS.filter(([name]) => folding[name])
    .map(([, letter]) => letter)
    .join("") || "-";

export function toHash(state: State): string {
  const out: string[] = [];
  const put = (key: string, value: string | number | boolean, start: string | number | boolean) => {
    if (value !== start) out.push(`${key}=${encodeURIComponent(value === true ? "1" : value === false ? "0" : value)}`);
  };
  out.push(`view=${state.view}`);
  put("at", state.moment, START.moment);
  if (state.moment === "temporary") put("within", state.within, START.within);
  if (state.moment === "range") {
    put("show", state.mode, START.mode);
    put("from", state.from_ns / 1e9, -1);
    put("to", state.to_ns / 1e9, -1);
  }
  put("process", state.process, -1);
  put("thread", state.thread, -1);
  put("allocator", state.allocator, -1);
  put("region", state.region, "");
  put("unit", state.unit, START.unit);
  put("search", state.search, "");
  put("fold", foldingText(state.folding), foldingText(START.folding));
  put("inverted", state.inverted, false);
  put("flip", state.flip, false);
  put("colour", state.colour, START.colour);
  if (state.zoom.length > 0) out.push(`zoom=${state.zoom.map((key) => key.toString(36)).join(".")}`);
  put("function", state.sandwich, -1);
  put("group", state.group, START.group);
  put("sort", state.sort, "");
  put("filter", state.filter, "");
  put("leaf", state.leaf, false);
  put("file", state.file, -1);
  put("line", state.line, 0);
  return `#${out.join("&")}`;
}

export function fromHash(hash: string, otherwise: State): State {
  const values = new Map<string, string>();
  for (const pair of hash.replace(/^#/, "").split("&")) {
    const at = pair.indexOf("=");
    if (at <= 0) continue;
    try {
      values.set(pair.slice(0, at), decodeURIComponent(pair.slice(at + 1)));
    } catch {
      /* not one of ours */
    }
  }
  if (values.size === 0) return otherwise;
  const choice = <T extends string>(key: string, all: T[], start: T): T => {
    const value = values.get(key) as T | undefined;
    return value !== undefined && all.includes(value) ? value : start;
  };
  const number = (key: string, start: number, least = -1): number => {
    const value = Number(values.get(key) ?? Number.NaN);
    return Number.isFinite(value) && value >= least && value < 2 ** 53 ? value : start;
  };
  const integer = (key: string, start: number, least = -1): number => Math.floor(number(key, start, least));
  const flag = (key: string): boolean => values.get(key) === "1";
  const fold = values.get("fold");
  const folding = { ...START.folding };
  if (fold !== undefined) for (const [name, letter] of FOLDS) folding[name] = fold.includes(letter);
  return {
    view: choice("view", VIEWS, otherwise.view),
    moment: choice("at", MOMENTS, START.moment),
    within: integer("within", START.within, 0),
    mode: choice("show", MODES, START.mode),
    from_ns: Math.round(number("from", 0, 0) * 1e9),
    to_ns: Math.round(number("to", 0, 0) * 1e9),
    process: integer("process", -1),
    thread: integer("thread", -1),
    allocator: integer("allocator", -1),
    region: values.get("region") ?? "",
    unit: choice("unit", ["bytes", "blocks"], START.unit),
    search: values.get("search") ?? "",
    folding,
    inverted: flag("inverted"),
    flip: flag("flip"),
    colour: choice("colour", COLOURS, START.colour),
    zoom: (values.get("zoom") ?? "")
      .split(".")
      .filter((part) => /^[0-9a-z]{1,8}$/.test(part))
      .map((part) => Number.parseInt(part, 36)),
    sandwich: integer("function", -1),
    group: values.get("group") ?? START.group,
    sort: values.get("sort") ?? "",
    filter: values.get("filter") ?? "",
    leaf: flag("leaf"),
    file: integer("file", -1),
    line: integer("line", 0, 0),
  };
}

export const state = signal<State>(START);

let first = START;

/** Begins with what the address says, else with what the page does. */
export function beginState(view: string | null, rest: string): void {
  const chosen = VIEWS.find((name) => name === view);
  first = { ...START, view: chosen ?? START.view };
  first = fromHash(rest, first);
  state.value = fromHash(location.hash, first);
  const follow = () => {
    state.value = fromHash(location.hash, first);
  };
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
}

export function go(change: Partial<State>, how: "push" | "replace" = "push"): void {
  const next = { ...state.value, ...change };
  const hash = toHash(next);
  state.value = next;
  if (hash === location.hash) return;
  /* a page in a frame without an origin has no history */
  try {
    if (how === "push") history.pushState(null, "", hash);
    else history.replaceState(null, "", hash);
  } catch {
    /* then the state is not in the address */
  }
}
