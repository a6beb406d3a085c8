/* Colours of frames: by module, by age, by difference. Tints that text is readable on, told apart without red against green. */

export interface Paint {
  fill: string;
  dark: boolean /* whether text on it is light */;
}

type Rgb = [number, number, number];

const parse = (hex: string): Rgb => [
  Number.parseInt(hex.slice(1, 3), 16),
  Number.parseInt(hex.slice(3, 5), 16),
  Number.parseInt(hex.slice(5, 7), 16),
];

function paint([r, g, b]: Rgb): Paint {
  const luminance = (0.299 * r + 0.587 * g + 0.114 * b) / 255;
  return { fill: `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`, dark: luminance < 0.53 };
}

const between = (a: Rgb, b: Rgb, t: number): Rgb => [
  a[0] + (b[0] - a[0]) * t,
  a[1] + (b[1] - a[1]) * t,
  a[2] + (b[2] - a[2]) * t,
];

function scale(stops: Rgb[], t: number): Rgb {
  const at = Math.min(0.9999, Math.max(0, t)) * (stops.length - 1);
  const i = Math.floor(at);
  return between(stops[i]!, stops[i + 1]!, at - i);
}

const LIGHT = {
  yours: "#f7c66b",
  special: "#e3e2df",
  stdlib: "#d5dae3",
  frozen: "#e2e5ea",
  native: "#ddd0c8",
  modules: ["#a9cdea", "#bfe0d4", "#cdc3ea", "#e9c3d3", "#c4d79b", "#9fd6dd", "#b7c4f0", "#e3d3a6"],
  age: ["#fdf3b4", "#f6c667", "#d98a6a", "#8c6bb1", "#41456e"],
  grown: ["#ebe9e4", "#f7c9a3", "#ea8f4e", "#cc5500"],
  shrunk: ["#ebe9e4", "#b3d3ea", "#67a5d3", "#1f6aa8"],
};

const DARK: typeof LIGHT = {
  yours: "#8a5d12",
  special: "#3a3a3c",
  stdlib: "#3b424e",
  frozen: "#32363e",
  native: "#4b4039",
  modules: ["#28557a", "#2a5e4f", "#4d4378", "#6b3a50", "#4b5c28", "#235c64", "#364580", "#5f5330"],
  age: ["#f4e8a0", "#e0a94a", "#b96a52", "#6f5596", "#3c4270"],
  grown: ["#3a3936", "#6e4a2c", "#a85b1f", "#d9701a"],
  shrunk: ["#3a3936", "#2f4d63", "#2f6c99", "#3a8fd0"],
};

export type Origins = "yours" | "special" | "stdlib" | "frozen" | "native" | "module";

export class Colours {
  private readonly modules: Paint[];
  private readonly fixed: Record<Exclude<Origins, "module">, Paint>;
  private readonly age: Rgb[];
  private readonly grown: Rgb[];
  private readonly shrunk: Rgb[];

  constructor(dark: boolean) {
    const p = dark ? DARK : LIGHT;
    const one = (hex: string) => paint(parse(hex));
    this.modules = p.modules.map(one);
    this.fixed = {
      yours: one(p.yours),
      special: one(p.special),
      stdlib: one(p.stdlib),
      frozen: one(p.frozen),
      native: one(p.native),
    };
    this.age = p.age.map(parse);
    this.grown = p.grown.map(parse);
    this.shrunk = p.shrunk.map(parse);
  }

  of(origin: Origins, module: string): Paint {
    if (origin !== "module") return this.fixed[origin];
    let hash = 0x811c9dc5;
    for (let i = 0; i < module.length; i++) hash = Math.imul(hash ^ module.charCodeAt(i), 0x01000193);
    return this.modules[(hash >>> 0) % this.modules.length]!;
  }

  /** 0: made just now, 1: as old as the recording. */
  ofAge(age: number): Paint {
    return paint(scale(this.age, age));
  }

  /** -1: all of it is gone, 1: all of it is new. */
  ofChange(change: number): Paint {
    return paint(scale(change < 0 ? this.shrunk : this.grown, Math.abs(change)));
  }
}
