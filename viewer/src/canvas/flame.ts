/*
 * The flame graph: a canvas as large as what is seen of it, whatever the size of the tree.
 *
 * Rows are laid out from the top: of each frame the children that are at least half a pixel wide, the widest first, then
 * the rest of them as one hatched box, so that nothing vanishes. Work is bounded by what is wide enough to be seen. Scrolling
 * is the browser's own: the canvas sticks to the top of an element as high as the graph.
 */
import type { Graph } from "../data/tree.ts";
import type { Paint } from "./colours.ts";

const ROW = 22;
const LEAST = 0.5; /* pixels that a frame must have to be drawn by itself */
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";
const MONO = "11px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

export interface FlameData {
  graph: Graph;
  /** The node that fills the width. */
  zoom: number;
  total: number;
  label(key: number): string;
  source(key: number): string;
  /** What is written at the right of a frame: "88.9 MB  47.0 %". */
  amount(node: number): string;
  paint(node: number): Paint;
  matches: Uint8Array | null;
  rootLabel: string;
  flip: boolean;
}

export interface Look {
  ink: string;
  inkLight: string;
  background: string;
  line: string;
  accent: string;
  match: string;
  hatch: string;
}

/** A box that is seen: a node, or the rest of the children of one. */
export interface Box {
  node: number /* -1: the rest */;
  parent: number /* node */;
  weight: number;
  merged: number /* how many children are in the rest */;
}

export interface FlameEvents {
  zoom(node: number): void;
  hover(box: Box | null, x: number, y: number): void;
  select(box: Box): void;
  key(event: KeyboardEvent, box: Box | null): boolean;
}

export class FlameCanvas {
  private readonly canvas: HTMLCanvasElement;
  private readonly spacer: HTMLElement;
  private readonly context: CanvasRenderingContext2D;
  private data: FlameData | null = null;
  private look: Look | null = null;
  private hatch: CanvasPattern | null = null;
  private width = 0;
  private height = 0;
  private scheduled = 0;
  private laidOut = false;
  private scrolled = 0;
  private readonly observer: ResizeObserver;

  /* boxes, in the order of their making: a parent before its children */
  private n = 0;
  private boxNode = new Int32Array(1024);
  private boxParent = new Int32Array(1024); /* box */
  private boxDepth = new Int32Array(1024);
  private boxX = new Float64Array(1024);
  private boxWidth = new Float64Array(1024);
  private boxMerged = new Int32Array(1024);
  private boxWeight = new Float64Array(1024);
  private depth = 0;
  private zoomDepth = 0;

  private cursor = 0; /* box that the keyboard is at */
  private cursorNode = -2;
  private hovered = -1;
  private focused = false;
  private readonly widths = new Map<string, number>();

  constructor(
    private readonly host: HTMLElement,
    private readonly events: FlameEvents,
  ) {
    this.canvas = document.createElement("canvas");
    this.canvas.className = "flame-canvas";
    this.canvas.setAttribute("aria-hidden", "true");
    this.spacer = document.createElement("div");
    host.append(this.canvas, this.spacer);
    const context = this.canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("this browser has no canvas");
    this.context = context;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
    host.addEventListener("scroll", this.onScroll, { passive: true });
    host.addEventListener("mousemove", this.onMove);
    host.addEventListener("mouseleave", this.onLeave);
    host.addEventListener("click", this.onClick);
    host.addEventListener("keydown", this.onKey);
    host.addEventListener("focus", this.onFocus);
    host.addEventListener("blur", this.onFocus);
    this.resize();
  }

  destroy(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.scheduled);
    const { host } = this;
    host.removeEventListener("scroll", this.onScroll);
    host.removeEventListener("mousemove", this.onMove);
    host.removeEventListener("mouseleave", this.onLeave);
    host.removeEventListener("click", this.onClick);
    host.removeEventListener("keydown", this.onKey);
    host.removeEventListener("focus", this.onFocus);
    host.removeEventListener("blur", this.onFocus);
    this.canvas.remove();
    this.spacer.remove();
  }

  set(data: FlameData, look: Look): void {
    const moved = this.data?.graph !== data.graph || this.data.zoom !== data.zoom;
    if (moved) this.cursorNode = data.zoom;
    this.data = data;
    if (this.look !== look) {
      this.look = look;
      this.hatch = this.makeHatch(look);
      this.widths.clear();
    }
    this.laidOut = false;
    this.hovered = -1;
    this.draw();
    if (moved) this.reveal(this.cursor, true);
  }

  focus(): void {
    this.host.focus({ preventScroll: true });
  }

  get selected(): Box | null {
    return this.n > 0 ? this.boxAt(this.cursor) : null;
  }

  /** Moves the keyboard's place to the next frame that matches the search, in reading order. */
  nextMatch(direction: 1 | -1): boolean {
    const { data } = this;
    if (!data?.matches) return false;
    const order = this.readingOrder();
    const from = order.indexOf(this.cursor);
    for (let step = 1; step <= order.length; step++) {
      const box = order[(from + direction * step + order.length * 2) % order.length]!;
      const node = this.boxNode[box]!;
      if (node > 0 && data.matches[data.graph.key(node)]) {
        this.moveTo(box);
        return true;
      }
    }
    return false;
  }

  private readingOrder(): number[] {
    const order = Array.from({ length: this.n }, (_, i) => i);
    order.sort((a, b) => this.boxDepth[a]! - this.boxDepth[b]! || this.boxX[a]! - this.boxX[b]!);
    return order;
  }

  /* -------------------------------------------------------------------------------------------------------- layout */

  private layOut(): void {
    const { data } = this;
    this.laidOut = true;
    this.n = 0;
    this.depth = 0;
    if (!data || this.width === 0) return;
    const { graph, zoom } = data;
    const path: number[] = [];
    for (let node = zoom; ; node = graph.parent(node)) {
      path.push(node);
      if (node === 0) break;
    }
    path.reverse();
    let last = -1;
    for (let depth = 0; depth < path.length; depth++)
      last = this.add(path[depth]!, last, depth, 0, this.width, 0, graph.weight(path[depth]!));
    this.zoomDepth = path.length - 1;
    this.depth = path.length;
    const perPixel = graph.weight(zoom) / this.width;
    if (!(perPixel > 0)) return;
    const least = perPixel * LEAST;
    const seen: number[] = [];
    const todo: number[] = [last];
    while (todo.length > 0) {
      const box = todo.pop()!;
      const node = this.boxNode[box]!;
      const { list, start, count } = graph.children(node);
      if (count === 0) continue;
      seen.length = 0;
      let rest = 0;
      let restCount = 0;
      for (let c = start; c < start + count; c++) {
        const child = list[c]!;
        const weight = graph.weight(child);
        if (weight >= least) seen.push(child);
        else if (weight > 0) {
          rest += weight;
          restCount++;
        }
      }
      if (seen.length > 1) seen.sort((a, b) => graph.weight(b) - graph.weight(a) || a - b);
      const depth = this.boxDepth[box]! + 1;
      let x = this.boxX[box]!;
      for (let i = 0; i < seen.length; i++) {
        const weight = graph.weight(seen[i]!);
        const wide = weight / perPixel;
        todo.push(this.add(seen[i]!, box, depth, x, wide, 0, weight));
        x += wide;
      }
      if (restCount > 0) {
        /* at least a pixel, if the caller has it, so that it can be seen that something is there */
        const room = this.boxX[box]! + this.boxWidth[box]! - x;
        const wide = Math.min(Math.max(rest / perPixel, 1), Math.max(room, rest / perPixel));
        if (this.boxWidth[box]! >= 2) this.add(-1, box, depth, x, wide, restCount, rest);
      }
      if (depth + 1 > this.depth && (seen.length > 0 || restCount > 0)) this.depth = depth + 1;
    }
    this.cursor = 0;
    for (let i = 0; i < this.n; i++)
      if (this.boxNode[i] === this.cursorNode) {
        this.cursor = i;
        break;
      }
  }

  private add(
    node: number,
    parent: number,
    depth: number,
    x: number,
    wide: number,
    merged: number,
    weight: number,
  ): number {
    if (this.n === this.boxNode.length) {
      const more = this.n * 2;
      const ints = (old: Int32Array) => {
        const grown = new Int32Array(more);
        grown.set(old);
        return grown;
      };
      const floats = (old: Float64Array) => {
        const grown = new Float64Array(more);
        grown.set(old);
        return grown;
      };
      this.boxNode = ints(this.boxNode);
      this.boxParent = ints(this.boxParent);
      this.boxDepth = ints(this.boxDepth);
      this.boxMerged = ints(this.boxMerged);
      this.boxX = floats(this.boxX);
      this.boxWidth = floats(this.boxWidth);
      this.boxWeight = floats(this.boxWeight);
    }
    const box = this.n++;
    this.boxNode[box] = node;
    this.boxParent[box] = parent;
    this.boxDepth[box] = depth;
    this.boxX[box] = x;
    this.boxWidth[box] = wide;
    this.boxMerged[box] = merged;
    this.boxWeight[box] = weight;
    return box;
  }

  /* ------------------------------------------------------------------------------------------------------- drawing */

  private resize(): void {
    const width = this.host.clientWidth;
    const height = this.host.clientHeight;
    const scale = devicePixelRatio || 1;
    if (width === this.width && height === this.height && this.canvas.width === Math.round(width * scale)) return;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.laidOut = false;
    this.draw();
  }

  private schedule(): void {
    if (this.scheduled === 0)
      this.scheduled = requestAnimationFrame(() => {
        this.scheduled = 0;
        this.draw();
      });
  }

  private top(depth: number): number {
    const full = Math.max(this.depth * ROW, this.height);
    return (this.data?.flip ? full - (depth + 1) * ROW : depth * ROW) - this.scrolled;
  }

  draw(): void {
    const { data, look, context, width, height } = this;
    if (!data || !look || width === 0 || height === 0) return;
    if (!this.laidOut) {
      this.layOut();
      this.spacer.style.height = `${Math.max(0, this.depth * ROW - height)}px`;
      if (data.flip) this.host.scrollTop = this.host.scrollHeight;
    }
    this.scrolled = this.host.scrollTop; /* once: asking makes the browser lay out */
    const scale = devicePixelRatio || 1;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = look.background;
    context.fillRect(0, 0, width, height);
    context.textBaseline = "middle";
    /* the rows that are seen */
    const full = Math.max(this.depth * ROW, height);
    const above = data.flip ? full - this.scrolled - height : this.scrolled;
    const first = Math.floor(above / ROW) - 1;
    const last = Math.ceil((above + height) / ROW);
    for (let box = 0; box < this.n; box++) {
      const depth = this.boxDepth[box]!;
      if (depth >= first && depth <= last) this.drawBox(box, this.top(depth));
    }
    if (this.hovered >= 0) this.outline(this.hovered, look.ink, 1);
    if (this.focused && this.n > 0) this.outline(this.cursor, look.accent, 2);
  }

  private drawBox(box: number, y: number): void {
    const { data, look, context } = this;
    if (!data || !look) return;
    const x = this.boxX[box]!;
    const wide = this.boxWidth[box]!;
    const node = this.boxNode[box]!;
    const left = wide > 3 ? x + 0.5 : x;
    const across = wide > 3 ? wide - 1 : Math.max(wide, 0.6);
    if (node < 0) {
      context.fillStyle = this.hatch ?? look.line;
      context.fillRect(left, y, across, ROW - 1);
      return;
    }
    const paint = data.paint(node);
    const match = data.matches && node > 0 ? data.matches[data.graph.key(node)] : 0;
    const faded = (data.matches && !match) || this.boxDepth[box]! < this.zoomDepth;
    if (faded) context.globalAlpha = data.matches ? 0.35 : 0.6;
    context.fillStyle = match ? look.match : paint.fill;
    context.fillRect(left, y, across, ROW - 1);
    context.globalAlpha = 1;
    if (wide > 26) this.drawText(node, x, y, wide, match ? false : paint.dark);
  }

  private drawText(node: number, x: number, y: number, wide: number, light: boolean): void {
    const { data, look, context } = this;
    if (!data || !look) return;
    const key = data.graph.key(node);
    const label = node === 0 ? data.rootLabel : data.label(key);
    const middle = y + ROW / 2;
    context.fillStyle = light ? look.inkLight : look.ink;
    context.font = FONT;
    let room = wide - 12;
    const amount = wide > 110 ? data.amount(node) : "";
    const amountWidth = amount === "" ? 0 : this.measure(amount) + 16;
    const labelWidth = this.measure(label);
    if (amountWidth > 0 && room - amountWidth > Math.min(labelWidth, 90)) {
      context.fillText(amount, x + wide - 6 - amountWidth + 16, middle);
      room -= amountWidth;
    }
    if (labelWidth <= room) {
      context.fillText(label, x + 6, middle);
      room -= labelWidth + 18;
      if (room > 80 && key >= 0) {
        const source = data.source(key);
        if (source !== "") {
          context.font = MONO;
          context.globalAlpha = 0.72;
          const most = Math.floor(room / 6.65);
          context.fillText(
            source.length > most ? `${source.slice(0, most - 1)}\u2026` : source,
            x + 6 + labelWidth + 18,
            middle,
          );
          context.globalAlpha = 1;
        }
      }
      return;
    }
    let most = Math.floor((label.length * (room - 9)) / labelWidth);
    while (most > 1 && context.measureText(label.slice(0, most)).width > room - 9) most--;
    if (most >= 2) context.fillText(`${label.slice(0, most)}\u2026`, x + 6, middle);
  }

  private measure(text: string): number {
    let wide = this.widths.get(text);
    if (wide === undefined) {
      wide = this.context.measureText(text).width;
      if (this.widths.size > 20000) this.widths.clear();
      this.widths.set(text, wide);
    }
    return wide;
  }

  private outline(box: number, colour: string, thick: number): void {
    const y = this.top(this.boxDepth[box]!);
    const wide = Math.max(this.boxWidth[box]!, 3);
    this.context.strokeStyle = colour;
    this.context.lineWidth = thick;
    this.context.strokeRect(this.boxX[box]! + thick / 2, y + thick / 2 - 0.5, wide - thick, ROW - thick);
  }

  private makeHatch(look: Look): CanvasPattern | null {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const context = tile.getContext("2d");
    if (!context) return null;
    context.fillStyle = look.background;
    context.fillRect(0, 0, 8, 8);
    context.strokeStyle = look.hatch;
    context.lineWidth = 2;
    for (const shift of [-8, 0, 8]) {
      context.beginPath();
      context.moveTo(shift, 8);
      context.lineTo(shift + 8, 0);
      context.stroke();
    }
    return this.context.createPattern(tile, "repeat");
  }

  /* ------------------------------------------------------------------------------------------------- mouse and keys */

  private boxAt(box: number): Box {
    const parent = this.boxParent[box]!;
    return {
      node: this.boxNode[box]!,
      parent: parent < 0 ? 0 : this.boxNode[parent]!,
      weight: this.boxWeight[box]!,
      merged: this.boxMerged[box]!,
    };
  }

  private hit(event: MouseEvent): number {
    const bounds = this.canvas.getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top;
    if (x < 0 || x >= this.width || y < 0 || y >= this.height) return -1;
    const full = Math.max(this.depth * ROW, this.height);
    const at = y + this.host.scrollTop;
    const depth = Math.floor((this.data?.flip ? full - at : at) / ROW);
    let found = -1;
    for (let box = 0; box < this.n; box++)
      if (
        this.boxDepth[box] === depth &&
        x >= this.boxX[box]! &&
        x < this.boxX[box]! + Math.max(this.boxWidth[box]!, 1)
      )
        found = box;
    return found;
  }

  private readonly onScroll = () => this.schedule();

  private readonly onMove = (event: MouseEvent) => {
    const box = this.hit(event);
    if (box !== this.hovered) {
      this.hovered = box;
      this.schedule();
    }
    this.events.hover(box < 0 ? null : this.boxAt(box), event.clientX, event.clientY);
  };

  private readonly onLeave = () => {
    this.hovered = -1;
    this.events.hover(null, 0, 0);
    this.schedule();
  };

  private readonly onClick = (event: MouseEvent) => {
    const box = this.hit(event);
    if (box < 0) return;
    this.moveTo(box);
    this.zoomTo(box);
  };

  private readonly onFocus = () => {
    this.focused = document.activeElement === this.host;
    this.schedule();
  };

  private zoomTo(box: number): void {
    const node = this.boxNode[box]!;
    /* the rest of a frame's calls shows where that frame is wider */
    this.events.zoom(node < 0 ? this.boxNode[this.boxParent[box]!]! : node);
  }

  private moveTo(box: number): void {
    this.cursor = box;
    this.cursorNode = this.boxNode[box]!;
    this.reveal(box, false);
    this.events.select(this.boxAt(box));
    this.schedule();
  }

  private reveal(box: number, atTop: boolean): void {
    const full = Math.max(this.depth * ROW, this.height);
    const depth = this.boxDepth[box] ?? 0;
    const y = this.data?.flip ? full - (depth + 1) * ROW : depth * ROW;
    const { host } = this;
    if (y < host.scrollTop) host.scrollTop = atTop ? Math.max(0, y - ROW * 2) : y;
    else if (y + ROW > host.scrollTop + this.height) host.scrollTop = y + ROW - this.height;
  }

  private childOf(box: number): number {
    let best = -1;
    for (let i = box + 1; i < this.n; i++)
      if (this.boxParent[i] === box && (best < 0 || this.boxX[i]! < this.boxX[best]!)) best = i;
    return best;
  }

  private beside(box: number, direction: 1 | -1): number {
    const depth = this.boxDepth[box]!;
    let best = -1;
    for (let i = 0; i < this.n; i++) {
      if (this.boxDepth[i] !== depth || i === box) continue;
      const x = this.boxX[i]!;
      const here = this.boxX[box]!;
      if (direction > 0 ? x <= here : x >= here) continue;
      if (best < 0 || (direction > 0 ? x < this.boxX[best]! : x > this.boxX[best]!)) best = i;
    }
    return best;
  }

  private readonly onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || this.n === 0) return;
    const flip = this.data?.flip === true;
    let to = -1;
    switch (event.key) {
      case "ArrowDown":
        to = flip ? this.boxParent[this.cursor]! : this.childOf(this.cursor);
        break;
      case "ArrowUp":
        to = flip ? this.childOf(this.cursor) : this.boxParent[this.cursor]!;
        break;
      case "ArrowRight":
        to = this.beside(this.cursor, 1);
        break;
      case "ArrowLeft":
        to = this.beside(this.cursor, -1);
        break;
      case "Home":
        to = 0;
        break;
      case "Enter":
        this.zoomTo(this.cursor);
        event.preventDefault();
        return;
      default:
        if (this.events.key(event, this.selected)) event.preventDefault();
        return;
    }
    event.preventDefault();
    if (to >= 0) this.moveTo(to);
  };
}
