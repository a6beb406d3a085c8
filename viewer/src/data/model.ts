/*
 * A profile as arrays: what every view is computed from. The counterpart of src/report/model.h, with the same words.
 *
 * A site is a line of a function, whatever the columns: the unit that tables and frames show. Two are always there:
 * memory without a Python frame and the interpreter's start-up. Each stack is charged to the site of its innermost frame
 * (leaf) and to that of the user's innermost line (yours, src/report/yours.c).
 */
import { type Payload, PayloadError, Strings } from "./decode.ts";
import { type Charged, chargeStacks } from "./yours.ts";

export enum Origin {
  USER,
  SITE,
  STDLIB,
  FROZEN,
  NATIVE,
}

export enum StackKind {
  ROOT,
  PYTHON,
  NO_PYTHON,
  DEEPER,
  NATIVE,
  OTHER,
}

export enum SiteKind {
  NO_PYTHON,
  STARTUP,
  LINE,
  DEEPER,
  OTHER,
}

export const NO_PYTHON_SITE = 0;
export const STARTUP_SITE = 1;

export interface ProcessMeta {
  pid: number;
  parent: number;
  command: string;
  python: string;
  recorded: string;
  reason: string;
  ended: string;
  exit_status: number;
  start_ns: number;
  end_ns: number;
  allocations: number;
  allocated: number;
  freed: number;
  live: number;
  live_blocks: number;
  peak: number;
  peak_ns: number;
  peak_blocks: number;
  rss_peak: number;
}

export interface ThreadMeta {
  process: number;
  tid: number;
  name: string;
  region: string;
  base: number;
}

export interface Mark {
  time_ns: number;
  process: number;
  kind: string;
  name: string;
}

export interface ProcessNote {
  process: number;
  text: string;
}

/* What comes as JSON was written by our own C code, but a file can be edited: each value is taken as what it must be. */
const asNumber = (value: unknown, otherwise = 0): number =>
  typeof value === "number" && Number.isFinite(value) ? value : otherwise;
const asText = (value: unknown): string => (typeof value === "string" ? value : "");
const asList = (value: unknown): Record<string, unknown>[] =>
  Array.isArray(value) ? value.map((item) => (typeof item === "object" && item !== null ? item : {})) : [];
const asObject = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

export interface Totals {
  peak_bytes: number;
  peak_ns: number;
  peak_blocks: number;
  peak_bound_bytes: number;
  end_bytes: number;
  end_blocks: number;
  allocated: number;
  allocations: number;
  freed: number;
  frees: number;
  rss_peak: number;
  arena_peak: number;
  pool_peak: number;
}

export interface Meta {
  title: string;
  verdict: string[];
  command: string;
  directory: string;
  host: string;
  python: string;
  options: string;
  editor: string;
  version: string;
  end_words: string;
  length_ns: number;
  tick_ns: number;
  cell_tick_ns: number;
  totals: Totals;
  processes: ProcessMeta[];
  threads: ThreadMeta[];
  allocators: string[];
  marks: Mark[];
  notes: ProcessNote[];
  rssAtPeak: Record<string, unknown> | null;
  pools: string;
  mappings: { process: number; class: string; live: number; peak: number }[];
  moments: Map<string, { title: string; bytes: number; count: number }>;
  running: boolean;
  lost: number;
  left_out: { private: number; budget: number };
  budget: { bytes: number; folded_nodes: number; folded_bytes_most: number };
  match: number[] | null;
}

function readMeta(raw: Record<string, unknown>): Meta {
  const totals = asObject(raw.totals);
  const budget = asObject(raw.budget);
  const verdict = Array.isArray(raw.verdict) ? raw.verdict.map(asText) : asText(raw.verdict).split("\n");
  const total = (...names: string[]) => {
    for (const name of names) if (typeof totals[name] === "number") return totals[name] as number;
    return 0;
  };
  const processes = asList(raw.processes).map((p) => ({
    pid: asNumber(p.pid),
    parent: asNumber(p.parent, -1),
    command: asText(p.command),
    python: asText(p.python),
    recorded: asText(p.recorded),
    reason: asText(p.reason),
    ended: asText(p.ended),
    exit_status: asNumber(p.exit_status, -1),
    start_ns: asNumber(p.start_ns),
    end_ns: asNumber(p.end_ns, Number.MAX_SAFE_INTEGER),
    allocations: asNumber(p.allocations),
    allocated: asNumber(p.allocated),
    freed: asNumber(p.freed),
    live: asNumber(p.live),
    live_blocks: asNumber(p.live_blocks),
    peak: asNumber(p.peak),
    peak_ns: asNumber(p.peak_ns),
    peak_blocks: asNumber(p.peak_blocks),
    rss_peak: asNumber(p.rss_peak),
  }));
  const threads = asList(raw.threads).map((t, row) => ({
    process: asNumber(t.process),
    tid: asNumber(t.tid),
    name: asText(t.name),
    region: asText(t.region),
    base: asNumber(t.base, row),
  }));
  return {
    title: asText(raw.title),
    verdict: verdict.filter((line) => line !== ""),
    command: asText(raw.command),
    directory: asText(raw.directory),
    host: asText(raw.host),
    python: asText(raw.python),
    options: asText(raw.options),
    editor: asText(raw.editor),
    version: asText(raw.heapline) || asText(raw.version),
    end_words: asText(raw.end_words) || "alive at the end",
    length_ns: Math.max(1, asNumber(raw.length_ns, 1)),
    tick_ns: Math.max(1, asNumber(raw.tick_ns, 1e7)),
    cell_tick_ns: Math.max(1, asNumber(raw.cell_tick_ns, 1e8)),
    totals: {
      peak_bytes: total("peak_bytes"),
      peak_ns: totals.peak_ns === undefined ? Math.round(total("peak_time_s") * 1e9) : total("peak_ns"),
      peak_blocks: total("peak_blocks"),
      peak_bound_bytes: total("peak_bound_bytes", "peak_bound"),
      end_bytes: total("end_bytes", "live_end_bytes"),
      end_blocks: total("end_blocks", "live_end_blocks"),
      allocated: total("allocated", "allocated_bytes"),
      allocations: total("allocations"),
      freed: total("freed", "freed_bytes"),
      frees: total("frees"),
      rss_peak: total("rss_peak", "rss_peak_bytes"),
      arena_peak: total("arena_peak", "arena_peak_bytes"),
      pool_peak: total("pool_peak", "pool_peak_bytes"),
    },
    processes,
    threads,
    allocators: Array.isArray(raw.allocators) ? raw.allocators.map(asText) : [],
    marks: asList(raw.marks).map((m) => ({
      time_ns: asNumber(m.time_ns),
      process: asNumber(m.process, -1),
      kind: asText(m.kind),
      name: asText(m.name),
    })),
    notes: Array.isArray(raw.notes)
      ? raw.notes.map((n) =>
          typeof n === "string"
            ? { process: -1, text: n }
            : { process: asNumber(asObject(n).process, -1), text: asText(asObject(n).text) },
        )
      : [],
    rssAtPeak:
      typeof raw.rss_at_peak === "object" && raw.rss_at_peak !== null
        ? asObject(raw.rss_at_peak)
        : typeof totals.rss_at_peak === "object" && totals.rss_at_peak !== null
          ? asObject(totals.rss_at_peak)
          : null,
    pools: asText(raw.pool_libraries) || asText(raw.pools) || asText(totals.pool_libraries),
    budget: {
      bytes: asNumber(budget.bytes),
      folded_nodes: asNumber(budget.folded_nodes),
      folded_bytes_most: asNumber(budget.folded_bytes_most),
    },
    mappings: asList(raw.mappings).map((m) => ({
      process: asNumber(m.process),
      class: asText(m.class),
      live: asNumber(m.live),
      peak: asNumber(m.peak),
    })),
    moments: new Map(
      asList(raw.moments).map((m) => [
        asText(m.moment),
        { title: asText(m.title), bytes: asNumber(m.bytes), count: asNumber(m.count) },
      ]),
    ),
    running: raw.running === true,
    lost: asNumber(raw.lost),
    left_out: {
      private: asNumber(asObject(raw.sources_left_out).private),
      budget: asNumber(asObject(raw.sources_left_out).budget),
    },
    match: Array.isArray(raw.match) ? raw.match.map((row) => asNumber(row, -1)) : null,
  };
}

const oneLess = (values: Int32Array): Int32Array => values.map((value) => value - 1);

export class Profile {
  readonly payload: Payload;
  readonly strings: Strings;
  readonly meta: Meta;

  readonly files: number;
  readonly fileOrigin: Int32Array;
  private readonly filePathText: Int32Array;
  private readonly fileLabelText: Int32Array;
  private readonly fileSource: Int32Array;

  readonly functions: number;
  readonly functionFile: Int32Array;
  private readonly functionNameText: Int32Array;
  readonly functionLine: Int32Array;

  readonly frames: number;
  readonly frameFunction: Int32Array;
  readonly frameLine: Int32Array;
  readonly frameEndLine: Int32Array;
  readonly frameColumn: Int32Array;
  readonly frameEndColumn: Int32Array;
  readonly frameModule: Int32Array; /* a file; -1: a Python frame */
  readonly frameCaller: Int32Array;
  readonly frameSite: Int32Array;

  readonly stacks: number;
  readonly stackParent: Int32Array;
  readonly stackFrame: Int32Array; /* -1: none */
  readonly stackKind: Int32Array;
  readonly stackLeaf: Int32Array; /* sites */
  readonly stackYours: Int32Array;

  readonly stats: number;
  readonly statStack: Int32Array;
  readonly statProcess: Int32Array;
  readonly statThread: Int32Array; /* -1: unknown */
  readonly statAllocator: Int32Array;

  /* Sites are added while a profile is loaded, never after. */
  readonly siteKind: number[] = [SiteKind.NO_PYTHON, SiteKind.STARTUP];
  readonly siteFunction: number[] = [-1, -1];
  readonly siteLine: number[] = [0, 0];
  readonly siteModule: number[] = [-1, -1];
  readonly siteInlined: boolean[] = [false, false];
  private readonly siteOf = new Map<string, number>();
  private siteRow = new Int32Array(0); /* of the payload's rows */

  readonly nativeOnly: boolean;
  readonly hasNative: boolean;
  /** Files of this origin count as the user's. */
  readonly yours: Origin;
  /** Processes that allocated. */
  readonly recorded: number;
  readonly hasRegions: boolean;

  constructor(payload: Payload) {
    this.payload = payload;
    this.meta = readMeta(payload.meta);
    this.strings = new Strings(payload, "strings");
    const texts = this.strings.length;

    this.files = payload.rows("file");
    this.filePathText = payload.references("file", "path", texts);
    this.fileLabelText = payload.references("file", "label", texts);
    this.fileOrigin = payload.ints("file", "origin");
    this.fileSource = oneLess(payload.references("file", "source", payload.rows("source") + 1));

    this.functions = payload.rows("function");
    this.functionFile = payload.references("function", "file", this.files);
    this.functionNameText = payload.references("function", "name", texts);
    this.functionLine = payload.ints("function", "first_line");

    this.frames = payload.rows("frame");
    this.frameFunction = payload.references("frame", "function", this.functions);
    this.frameLine = payload.ints("frame", "line");
    const unknown = new Int32Array(this.frames).fill(-1);
    this.frameEndLine = payload.has("frame", "end_line") ? payload.ints("frame", "end_line") : unknown;
    this.frameColumn = payload.has("frame", "col") ? payload.ints("frame", "col") : unknown;
    this.frameEndColumn = payload.has("frame", "end_col") ? payload.ints("frame", "end_col") : unknown;
    this.frameModule = oneLess(payload.references("frame", "module", this.files + 1));
    this.frameCaller = oneLess(payload.references("frame", "caller", this.frames + 1));

    this.stacks = payload.rows("stack");
    this.stackParent = payload.references("stack", "parent", Math.max(1, this.stacks));
    this.stackFrame = oneLess(payload.references("stack", "frame", this.frames + 1));
    this.stackKind = payload.ints("stack", "kind");
    if (this.stacks === 0) throw new PayloadError("The report's data is damaged: it has no call tree.");
    for (let i = 1; i < this.stacks; i++)
      if (this.stackParent[i]! >= i)
        throw new PayloadError("The report's data is damaged: a call is listed before its caller.");

    this.stats = payload.rows("stat");
    this.statStack = payload.references("stat", "stack", this.stacks);
    this.statProcess = payload.references("stat", "process", Math.max(1, this.meta.processes.length));
    this.statThread = payload.references("stat", "thread", Math.max(1, this.meta.threads.length));
    this.statAllocator = payload.references("stat", "allocator", Math.max(1, this.meta.allocators.length));

    this.frameSite = this.readSites(payload);
    this.recorded = this.meta.processes.filter((p) => p.allocations > 0).length;
    this.hasRegions = this.meta.threads.some((t) => t.region !== "");
    const charged = payload.has("stack", "yours") ? this.readCharges(payload) : chargeStacks(this);
    this.stackLeaf = charged.leaf;
    this.stackYours = charged.yours;
    this.nativeOnly = charged.nativeOnly;
    this.hasNative = charged.hasNative;
    this.yours = charged.origin;
  }

  /** The sites of the payload, and which frames are of them. */
  private readSites(payload: Payload): Int32Array {
    const rows = payload.rows("site");
    if (rows === 0) {
      const sites = new Int32Array(this.frames);
      for (let i = 0; i < this.frames; i++)
        sites[i] = this.site(
          SiteKind.LINE,
          this.frameFunction[i]!,
          this.frameLine[i]!,
          this.frameModule[i]!,
          this.frameCaller[i]! >= 0,
        );
      return sites;
    }
    const kind = payload.ints("site", "kind");
    const fn = payload.references("site", "function", this.functions + 1);
    const line = payload.ints("site", "line");
    const module = payload.references("site", "module", this.files + 1);
    const inlined = payload.ints("site", "inlined");
    this.siteRow = new Int32Array(rows);
    for (let i = 0; i < rows; i++)
      this.siteRow[i] =
        kind[i] === SiteKind.NO_PYTHON || kind[i] === SiteKind.STARTUP
          ? kind[i]!
          : this.site(kind[i]!, fn[i]! - 1, line[i]!, module[i]! - 1, inlined[i] === 1);
    return payload.references("frame", "site", rows).map((row) => this.siteRow[row]!);
  }

  /** To which sites stacks are charged, as the payload says it. */
  private readCharges(payload: Payload): Charged {
    const rows = payload.rows("site");
    const leaf = payload.references("stack", "leaf", rows + 1).slice();
    const yours = payload.references("stack", "yours", rows + 1).slice();
    const allocated = new Float64Array(5);
    let hasNative = false;
    for (let i = 0; i < this.stacks; i++) {
      const frame = this.stackFrame[i]!;
      if (this.stackKind[i] === StackKind.NATIVE) hasNative = true;
      leaf[i] = leaf[i] ? this.siteRow[leaf[i]! - 1]! : frame >= 0 ? this.frameSite[frame]! : NO_PYTHON_SITE;
      yours[i] = yours[i] ? this.siteRow[yours[i]! - 1]! : i > 0 ? yours[this.stackParent[i]!]! : NO_PYTHON_SITE;
    }
    const bytes = payload.numbers("stat", "allocated");
    for (let i = 0; i < this.stats; i++) {
      const file = this.siteFile(yours[this.statStack[i]!]!);
      if (file >= 0) allocated[this.fileOrigin[file]!]! += bytes[i]!;
    }
    const origin = [Origin.USER, Origin.SITE, Origin.STDLIB].find((o) => allocated[o]! > 0) ?? Origin.USER;
    return { leaf, yours, nativeOnly: payload.meta.native_only === true, hasNative, origin };
  }

  get sites(): number {
    return this.siteKind.length;
  }

  site(kind: SiteKind, fn: number, line: number, module: number, inlined: boolean): number {
    const key = `${kind} ${fn} ${line} ${module} ${inlined}`;
    let site = this.siteOf.get(key);
    if (site === undefined) {
      site = this.siteKind.length;
      this.siteKind.push(kind);
      this.siteFunction.push(fn);
      this.siteLine.push(line);
      this.siteModule.push(module);
      this.siteInlined.push(inlined);
      this.siteOf.set(key, site);
    }
    return site;
  }

  path(file: number): string {
    return this.strings.get(this.filePathText[file] ?? 0);
  }

  label(file: number): string {
    return this.strings.get(this.fileLabelText[file] ?? 0);
  }

  functionName(fn: number): string {
    return this.strings.get(this.functionNameText[fn] ?? 0);
  }

  siteFile(site: number): number {
    const fn = this.siteFunction[site]!;
    return fn < 0 ? -1 : this.functionFile[fn]!;
  }

  /** "main", "(no Python)". */
  siteName(site: number): string {
    switch (this.siteKind[site]) {
      case SiteKind.NO_PYTHON:
        return this.nativeOnly ? "(no stack)" : "(no Python)";
      case SiteKind.STARTUP:
        return "(interpreter start-up)";
      case SiteKind.DEEPER:
        return "(deeper)";
      case SiteKind.OTHER:
        return "(other)";
      default: {
        const name = this.functionName(this.siteFunction[site]!);
        return this.siteInlined[site] ? `${name} (inlined)` : name;
      }
    }
  }

  /** "app.py:42"; "" where there is none. */
  sitePlace(site: number): string {
    const file = this.siteFile(site);
    if (file < 0) return "";
    const label = this.label(file);
    const line = this.siteLine[site]!;
    return line > 0 ? `${label}:${line}` : label === this.functionName(this.siteFunction[site]!) ? "" : label;
  }

  /** The text of the site's line without blanks around it; "" where it is not known. */
  siteSource(site: number): string {
    const line = this.siteLine[site]!;
    if (line <= 0 || this.siteKind[site] !== SiteKind.LINE) return "";
    return (this.source(this.siteFile(site))?.[line - 1] ?? "").trim();
  }

  private readonly sourceLines = new Map<number, string[] | null>();
  private sourceTexts: Strings | null = null;

  hasSource(file: number): boolean {
    return file >= 0 && this.fileSource[file]! >= 0;
  }

  /** The lines of a file as it was; null where it is not in the report. */
  source(file: number): string[] | null {
    if (!this.hasSource(file)) return null;
    let lines = this.sourceLines.get(file);
    if (lines === undefined) {
      this.sourceTexts ??= new Strings(this.payload, "source");
      lines = this.sourceTexts.get(this.fileSource[file]!).split(/\r\n|\r|\n/);
      if (lines[lines.length - 1] === "") lines.pop();
      this.sourceLines.set(file, lines);
    }
    return lines;
  }

  /** "numpy" of numpy/core/numeric.py; the user's own files by their label (src/report/groups.c). */
  moduleName(file: number): string {
    if (file < 0) return this.nativeOnly ? "(native code)" : "(no Python)";
    const label = this.label(file);
    const origin = this.fileOrigin[file];
    if (origin === Origin.FROZEN) return "(interpreter's frozen modules)";
    if (origin === Origin.USER || label.startsWith("/") || label.startsWith("<")) return label;
    const slash = label.indexOf("/");
    const name = slash < 0 ? label : label.slice(0, slash);
    return name.length > 3 && name.endsWith(".py") ? name.slice(0, -3) : name;
  }

  threadName(row: number): string {
    const thread = this.meta.threads[row];
    if (!thread) return "(unknown)";
    return thread.tid ? `${thread.name} (${thread.tid})` : thread.name;
  }

  processName(row: number): string {
    const process = this.meta.processes[row];
    return process ? `${process.pid}  ${process.command}` : "(unknown)";
  }
}
