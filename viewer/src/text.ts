/*
 * Sizes, counts, times and shares as people read them: the counterpart of src/base/number.c, with the same rounding. MB =
 * 10^6 bytes; at least three digits that count; rounding never shows 1000 of a unit.
 */

const UNITS = ["kB", "MB", "GB", "TB", "PB", "EB"];

export function size(bytes: number): string {
  const sign = bytes < 0 ? "-" : "";
  const most = Math.abs(bytes);
  if (most < 1000) return `${sign}${Math.round(most)} B`;
  let value = most / 1000;
  let unit = 0;
  while (value >= 999.95 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${sign}${fixed(value, value < 9.995 ? 2 : 1)} ${UNITS[unit]}`;
}

/* As C's printf has it: a number exactly between two goes to the even one. Only multiples of 1/2^(digits + 1) can be such. */
function fixed(value: number, digits: number): string {
  const scaled = value * 10 ** digits;
  if (Number.isInteger(value * 2 ** (digits + 1)) && Math.abs(scaled - Math.trunc(scaled)) === 0.5)
    return ((Math.floor(scaled) + (Math.floor(scaled) % 2)) / 10 ** digits).toFixed(digits);
  return value.toFixed(digits);
}

/** A difference: always with its sign, "±0" where there is none. */
export function signedSize(bytes: number): string {
  return bytes === 0 ? "±0 B" : bytes > 0 ? `+${size(bytes)}` : `\u2212${size(-bytes)}`;
}

export function count(value: number): string {
  const digits = String(Math.round(Math.abs(value)));
  return `${value < 0 ? "-" : ""}${digits.replace(/\B(?=(\d{3})+$)/g, ",")}`;
}

export function signedCount(value: number): string {
  return value === 0 ? "±0" : value > 0 ? `+${count(value)}` : `\u2212${count(-value)}`;
}

export function time(ns: number): string {
  const ms = ns / 1e6;
  const seconds = Math.floor((ns + 5e8) / 1e9);
  if (ms < 999.5) return `${fixed(ms, 0)} ms`;
  if (ms < 119995) return `${fixed(ms / 1000, ms < 99995 ? 2 : 1)} s`;
  const two = (n: number) => String(n).padStart(2, "0");
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor((seconds + 30) / 3600)} h ${two(Math.floor(((seconds + 30) % 3600) / 60))} min`;
}

/** Empty when the whole is 0; 100 % means all of it. */
export function share(part: number, whole: number): string {
  if (whole === 0) return "";
  const value = (100 * part) / whole;
  if (part !== 0 && value >= 0 && value < 0.05) return "<0.1 %";
  if (part < whole && value >= 99.95) return "99.9 %";
  return part === whole ? "100 %" : `${fixed(value, 1)} %`;
}

/** "12.5s", "850ms", "2m", "12.5" (seconds) or "80%" of a whole; null for anything else. */
export function parseTime(text: string, whole_ns: number): number | null {
  const match = /^(\d+(?:\.\d*)?)\s*(%|s|ms|m|min|h)?$/.exec(text.trim());
  if (!match) return null;
  const value = Number(match[1]);
  if (match[2] === "%") return value > 100 ? null : (value / 100) * whole_ns;
  const factor = { s: 1e9, ms: 1e6, m: 60e9, min: 60e9, h: 3600e9 }[match[2] ?? "s"]!;
  return Math.round(value * factor);
}

/** Cut in the middle, as paths are. */
export function middle(text: string, most: number): string {
  if (text.length <= most) return text;
  const keep = Math.max(2, most - 1);
  return `${text.slice(0, Math.ceil(keep / 2))}\u2026${text.slice(text.length - Math.floor(keep / 2))}`;
}

/** Characters that would act on the text around them (control, direction) as escapes: names come from any program. */
export function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => {
    const code = c.charCodeAt(0);
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}
