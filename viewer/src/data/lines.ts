/* A file's lines and what they took, gave back and held: the counterpart of src/report/lines.c. */
import type { App } from "../app.ts";
import type { Profile } from "./model.ts";
import { cellTicks, taken, type Weights } from "./select.ts";

export interface LineRow {
  selected: number /* bytes of the page's selection */;
  selectedBlocks: number;
  allocated: number;
  peak: number;
  end: number;
  count: number;
  before: number /* of the selection, in the older profile */;
}

export interface FileRow {
  file: number;
  selected: number;
  allocated: number;
  before: number;
}

interface Four {
  allocated: Weights;
  peak: Weights;
  end: Weights;
}

const four = new WeakMap<Weights, Four>();

function weightsOf(a: App): Four {
  const now = a.weights.value;
  let all = four.get(now);
  if (!all) {
    all = {
      allocated: a.weighOther({ moment: "allocated" }),
      peak: a.weighOther({ moment: "peak" }),
      end: a.weighOther({ moment: "end" }),
    };
    four.set(now, all);
  }
  return all;
}

const charged = (p: Profile, leaf: boolean) => (leaf ? p.stackLeaf : p.stackYours);

/** Files with anything in them, the heaviest of the selection first. */
export function filesOf(a: App, leaf: boolean): FileRow[] {
  const p = a.profile;
  const sites = charged(p, leaf);
  const w = a.weights.value;
  const { allocated } = weightsOf(a);
  const selected = new Float64Array(p.files);
  const took = new Float64Array(p.files);
  const before = new Float64Array(p.files);
  const files = new Int32Array(p.sites);
  for (let site = 0; site < p.sites; site++) files[site] = p.siteFile(site);
  for (let row = 0; row < p.stats; row++) {
    const file = files[sites[p.statStack[row]!]!]!;
    if (file < 0) continue;
    selected[file]! += w.bytes[row]!;
    took[file]! += allocated.bytes[row]!;
  }
  const oldW = a.oldWeights.value;
  if (a.old && oldW) {
    const theirs = charged(a.old, leaf);
    for (let row = 0; row < a.old.stats; row++) {
      const file = a.names.file(a.names.oldKey![theirs[a.old.statStack[row]!]!]!);
      if (file >= 0) before[file]! += oldW.bytes[row]!;
    }
  }
  const rows: FileRow[] = [];
  for (let file = 0; file < p.files; file++)
    if (selected[file] || took[file] || before[file])
      rows.push({ file, selected: selected[file]!, allocated: took[file]!, before: before[file]! });
  rows.sort((x, y) => y.selected - x.selected || y.allocated - x.allocated || x.file - y.file);
  return rows;
}

/** By line number; 0 is for what has no line. */
export function linesOf(a: App, file: number, leaf: boolean): Map<number, LineRow> {
  const p = a.profile;
  const sites = charged(p, leaf);
  const w = a.weights.value;
  const all = weightsOf(a);
  const lines = new Map<number, LineRow>();
  const lineOf = linesOfSites(p, file);
  const at = (line: number): LineRow => {
    let row = lines.get(line);
    if (!row) {
      row = { selected: 0, selectedBlocks: 0, allocated: 0, peak: 0, end: 0, count: 0, before: 0 };
      lines.set(line, row);
    }
    return row;
  };
  for (let i = 0; i < p.stats; i++) {
    const line = lineOf[sites[p.statStack[i]!]!]!;
    if (line < 0) continue;
    if (all.allocated.blocks[i] === 0 && all.allocated.bytes[i] === 0 && w.bytes[i] === 0 && all.end.bytes[i] === 0)
      continue;
    const row = at(line);
    row.selected += w.bytes[i]!;
    row.selectedBlocks += w.blocks[i]!;
    row.allocated += all.allocated.bytes[i]!;
    row.count += all.allocated.blocks[i]!;
    row.peak += all.peak.bytes[i]!;
    row.end += all.end.bytes[i]!;
  }
  const oldW = a.oldWeights.value;
  if (a.old && oldW) {
    const theirs = charged(a.old, leaf);
    for (let i = 0; i < a.old.stats; i++) {
      if (oldW.bytes[i] === 0) continue;
      const key = a.names.oldKey![theirs[a.old.statStack[i]!]!]!;
      const line = key < p.sites ? lineOf[key]! : -1;
      if (line >= 0) at(line).before += oldW.bytes[i]!;
    }
  }
  return lines;
}

/* By site: the line if it is of this file, else -1. */
function linesOfSites(p: Profile, file: number): Int32Array {
  const lines = new Int32Array(p.sites).fill(-1);
  for (let site = 0; site < p.sites; site++) if (p.siteFile(site) === file) lines[site] = p.siteLine[site]!;
  return lines;
}

export const SPARKS = 40;

/** What each line of a file held over time, in SPARKS steps. */
export function sparksOf(a: App, file: number, leaf: boolean): Map<number, Float64Array> {
  const p = a.profile;
  const sites = charged(p, leaf);
  const lineOf = linesOfSites(p, file);
  const takes = taken(p, a.selection.value);
  const ticks = cellTicks(p);
  const stat = p.payload.ints("cell", "stat");
  const born = p.payload.ints("cell", "born");
  const lived = p.payload.ints("cell", "lived");
  const bytes = p.payload.numbers("cell", "bytes");
  const sparks = new Map<number, Float64Array>();
  const step = (tick: number) => Math.min(SPARKS, Math.floor((tick * SPARKS) / ticks));
  for (let i = 0; i < stat.length; i++) {
    const row = stat[i]!;
    const line = lineOf[sites[p.statStack[row]!]!]!;
    if (line < 0 || (takes && !takes[row])) continue;
    let spark = sparks.get(line);
    if (!spark) {
      spark = new Float64Array(SPARKS + 1);
      sparks.set(line, spark);
    }
    spark[step(born[i]!)]! += bytes[i]!;
    if (lived[i] !== 0) spark[Math.min(SPARKS, step(born[i]! + lived[i]!) + 1)]! -= bytes[i]!;
  }
  for (const spark of sparks.values()) for (let t = 1; t <= SPARKS; t++) spark[t]! += spark[t - 1]!;
  return sparks;
}

export interface Span {
  line: number;
  end_line: number;
  from: number /* UTF-8 bytes */;
  to: number;
  weight: number;
}

/** The expressions of a file that allocated or whose calls did, by the selection: column ranges of frames with weight. */
export function spansOf(a: App, file: number): Span[] {
  const p = a.profile;
  const w = a.weights.value;
  const wanted = new Uint8Array(p.frames);
  for (let frame = 0; frame < p.frames; frame++) {
    const fn = p.frameFunction[frame]!;
    if (fn >= 0 && p.functionFile[fn] === file && p.frameColumn[frame]! >= 0 && p.frameEndColumn[frame]! >= 0)
      wanted[frame] = 1;
  }
  const sums = new Float64Array(p.stacks);
  for (let i = 0; i < p.stats; i++) sums[p.statStack[i]!]! += w.bytes[i]!;
  const weights = new Float64Array(p.frames);
  for (let i = p.stacks - 1; i > 0; i--) {
    const sum = sums[i]!;
    if (sum === 0) continue;
    sums[p.stackParent[i]!]! += sum;
    const frame = p.stackFrame[i]!;
    if (frame >= 0 && wanted[frame]) weights[frame]! += sum;
  }
  const spans: Span[] = [];
  for (let frame = 0; frame < p.frames; frame++)
    if (weights[frame]! > 0)
      spans.push({
        line: p.frameLine[frame]!,
        end_line: Math.max(p.frameLine[frame]!, p.frameEndLine[frame]!),
        from: p.frameColumn[frame]!,
        to: p.frameEndColumn[frame]!,
        weight: weights[frame]!,
      });
  return spans;
}

/** The other profile moments' totals of a file, for its foot. */
export function sumOf(lines: Map<number, LineRow>): LineRow {
  const sum: LineRow = { selected: 0, selectedBlocks: 0, allocated: 0, peak: 0, end: 0, count: 0, before: 0 };
  for (const row of lines.values()) {
    sum.selected += row.selected;
    sum.selectedBlocks += row.selectedBlocks;
    sum.allocated += row.allocated;
    sum.peak += row.peak;
    sum.end += row.end;
    sum.count += row.count;
    sum.before += row.before;
  }
  return sum;
}
