/*
 * Curves over time, drawn by uPlot: heap, RSS and its parts, arenas, each process; marks and the peak on top. A range is
 * chosen by dragging, a moment by a click.
 */
import uPlot from "uplot";
import { type Curve, pointAt } from "../data/curve.ts";
import { size, time } from "../text.ts";
import { property } from "../ui/theme.ts";

export interface Line {
  name: string;
  colour: string /* a custom property */;
  values: (number | null)[];
  fill?: string;
  dash?: number[];
  width?: number;
}

export interface Flag {
  time_ns: number;
  text: string;
  tone: "peak" | "mark" | "death" | "region";
}

export interface ChartData {
  x: number[] /* seconds */;
  lines: Line[];
  flags: Flag[];
  length_ns: number;
  range: { from_ns: number; to_ns: number } | null;
}

export interface ChartOptions {
  compact: boolean /* no axis at the left */;
  onRange(from_ns: number, to_ns: number): void;
  onMoment(time_ns: number): void;
  onHover?(index: number | null, x: number, y: number): void;
}

/** The places of a curve that are drawn. A value is that of the tick that ends there, so lines are steps backwards; where
 * ticks without a change lie before one, the value before holds until it begins. */
export interface Places {
  x: number[] /* seconds */;
  point: Int32Array /* of the curve; -1: before the first */;
  held: Uint8Array /* 1: the point's value goes on until here */;
}

export function placesOf(curve: Curve, tick_ns: number): Places {
  const x: number[] = [0];
  const point: number[] = [-1];
  const held: number[] = [1];
  for (let i = 0; i < curve.length; i++) {
    const end = curve.end_ns[i]!;
    const begin = Math.floor((end - 1) / tick_ns) * tick_ns;
    if (begin / 1e9 > x[x.length - 1]!) {
      x.push(begin / 1e9);
      point.push(i - 1);
      held.push(1);
    }
    x.push(end / 1e9);
    point.push(i);
    held.push(0);
  }
  return { x, point: Int32Array.from(point), held: Uint8Array.from(held) };
}

/** A column of the curve at its places; `after` is what holds when a tick is over (the heap, of the highest in the tick). */
export function columnOf(places: Places, column: Float64Array, after = column): (number | null)[] {
  return places.x.map((_, i) => {
    const at = places.point[i]!;
    if (at < 0) return column.length > 0 && column[0]! >= 0 ? 0 : null;
    const value = places.held[i] ? after[at]! : column[at]!;
    return value < 0 ? null : value;
  });
}

/** A column of another curve (one process's) at these places. */
export function sampleAt(curve: Curve, column: Float64Array, places: Places): (number | null)[] {
  return places.x.map((seconds) => {
    const ns = Math.round(seconds * 1e9);
    const at = pointAt(curve, ns);
    if (at < 0 || column[at]! < 0) return 0;
    return curve.end_ns[at]! > ns ? 0 : column[at]!;
  });
}

const NICE = [1, 2, 2.5, 5, 10];

function sizeSplits(_: uPlot, __: number, ___: number, most: number, step: number): number[] {
  const unit = 10 ** Math.floor(Math.log10(Math.max(step, 1)));
  const nice = NICE.find((factor) => factor * unit >= step) ?? 10;
  const splits: number[] = [];
  for (let value = 0; value <= most; value += nice * unit) splits.push(value);
  return splits;
}

export class Chart {
  private plot: uPlot | null = null;
  private data: ChartData | null = null;
  private readonly observer: ResizeObserver;
  private setting = false;
  private dragged = false;

  constructor(
    private readonly host: HTMLElement,
    private readonly options: ChartOptions,
  ) {
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(host);
  }

  destroy(): void {
    this.observer.disconnect();
    this.plot?.destroy();
  }

  /** Draws anew: data or theme changed. */
  set(data: ChartData): void {
    this.data = data;
    this.plot?.destroy();
    this.plot = null;
    this.make();
  }

  setRange(range: ChartData["range"]): void {
    if (!this.data) return;
    this.data.range = range;
    this.showRange();
  }

  private fit(): void {
    const width = this.host.clientWidth;
    const height = this.host.clientHeight;
    if (width === 0 || height === 0) return;
    if (!this.plot) this.make();
    else if (this.plot.width !== width || this.plot.height !== height) {
      this.plot.setSize({ width, height });
      this.showRange();
    }
  }

  private showRange(): void {
    const { plot, data } = this;
    if (!plot || !data) return;
    this.setting = true;
    if (!data.range) plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    else {
      const left = plot.valToPos(data.range.from_ns / 1e9, "x");
      const right = plot.valToPos(data.range.to_ns / 1e9, "x");
      plot.setSelect({ left, width: Math.max(1, right - left), top: 0, height: plot.over.clientHeight }, false);
    }
    this.setting = false;
  }

  private make(): void {
    const { host, data, options } = this;
    const width = host.clientWidth;
    const height = host.clientHeight;
    if (!data || width === 0 || height === 0) return;
    const ink = property("--ink-3");
    const grid = property("--line");
    const font = `11px ${property("--font")}`;
    const stepped = uPlot.paths.stepped!({ align: -1 });
    const most = Math.max(1, ...data.lines.map((line) => line.values.reduce<number>((a, b) => Math.max(a, b ?? 0), 0)));
    const x: uPlot.Axis = {
      stroke: ink,
      font,
      size: options.compact ? 20 : 28,
      gap: options.compact ? 2 : 4,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, size: options.compact ? 3 : 5 },
      values: (_, splits) => splits.map((seconds) => (seconds === 0 ? "0 s" : time(seconds * 1e9))),
      space: 80,
    };
    const y: uPlot.Axis = {
      stroke: ink,
      font,
      size: 68,
      show: !options.compact,
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
      values: (_, splits) => splits.map((bytes) => size(bytes)),
      splits: sizeSplits,
      space: 34,
    };
    const plot = new uPlot(
      {
        width,
        height,
        padding: [options.compact ? 4 : 18, 8, 0, options.compact ? 10 : 4],
        legend: { show: false },
        cursor: {
          drag: { x: true, y: false, setScale: false },
          y: false,
          points: { show: !options.compact, size: 6 },
        },
        scales: {
          x: { time: false, range: () => [0, data.length_ns / 1e9] },
          y: { range: () => [0, most * 1.04] },
        },
        axes: [x, y],
        series: [
          {},
          ...data.lines.map((line) => ({
            label: line.name,
            stroke: property(line.colour),
            width: line.width ?? 1.5,
            paths: stepped,
            points: { show: false },
            spanGaps: true,
            ...(line.fill ? { fill: property(line.fill) } : {}),
            ...(line.dash ? { dash: line.dash } : {}),
          })),
        ],
        hooks: {
          ready: [
            (u) => {
              this.plot = u;
              this.showRange();
            },
          ],
          draw: [(u) => this.drawFlags(u)],
          setSelect: [
            (u) => {
              if (this.setting || u.select.width < 3) return;
              this.dragged = true;
              const from = Math.max(0, u.posToVal(u.select.left, "x"));
              const to = u.posToVal(u.select.left + u.select.width, "x");
              options.onRange(Math.round(from * 1e9), Math.min(data.length_ns, Math.round(to * 1e9)));
            },
          ],
          setCursor: [
            (u) => {
              const { idx, left, top } = u.cursor;
              const bounds = u.over.getBoundingClientRect();
              if (idx === null || idx === undefined || left === undefined || left < 0) options.onHover?.(null, 0, 0);
              else options.onHover?.(idx, bounds.left + left, bounds.top + (top ?? 0));
            },
          ],
        },
      },
      [data.x, ...data.lines.map((line) => line.values)] as uPlot.AlignedData,
      host,
    );
    plot.over.addEventListener("mousedown", () => {
      this.dragged = false;
    });
    plot.over.addEventListener("click", () => {
      if (this.dragged || plot.cursor.left === undefined || plot.cursor.left < 0) return;
      options.onMoment(Math.round(plot.posToVal(plot.cursor.left, "x") * 1e9));
    });
    this.plot = plot;
  }

  private drawFlags(u: uPlot): void {
    const { data, options } = this;
    if (!data) return;
    const { ctx } = u;
    const scale = devicePixelRatio || 1;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    ctx.font = `${11 * scale}px ${property("--font")}`;
    ctx.textBaseline = "bottom";
    let free = left; /* no text over another */
    for (const flag of data.flags) {
      const x = Math.round(u.valToPos(flag.time_ns / 1e9, "x", true)) + 0.5;
      if (x < left || x > left + width + 1) continue;
      const colour = property(flag.tone === "peak" ? "--heap" : flag.tone === "death" ? "--grown" : "--ink-2");
      ctx.strokeStyle = colour;
      ctx.fillStyle = colour;
      ctx.lineWidth = scale;
      ctx.setLineDash(flag.tone === "peak" ? [] : [3 * scale, 3 * scale]);
      ctx.beginPath();
      ctx.moveTo(x, top);
      ctx.lineTo(x, top + height);
      ctx.stroke();
      if (options.compact) continue;
      const wide = ctx.measureText(flag.text).width;
      const at = x + 4 * scale + wide > left + width ? x - wide : x - 2 * scale;
      if (at < free) continue;
      ctx.fillText(flag.text, at, top - 3 * scale);
      free = at + wide + 10 * scale;
    }
    ctx.restore();
  }
}
