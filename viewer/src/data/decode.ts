/*
 * The payload of a report, as src/report/payload.c writes it: a header in JSON and columns of numbers packed as varints.
 *
 * Columns are unpacked when they are first asked for. Whatever is wrong with the bytes becomes one PayloadError with a
 * sentence for people; nothing here trusts a length or an offset.
 */

export class PayloadError extends Error {}

/** u: unsigned, s: zigzag, d: zigzag difference to the row before, r: runs of (value, count), b: bytes. */
export type Kind = "u" | "s" | "d" | "r" | "b";

export interface ColumnHeader {
  at: number;
  bytes: number;
  kind: Kind;
  null?: boolean;
}

export interface TableHeader {
  rows: number;
  columns: Record<string, ColumnHeader>;
}

export interface Header {
  format: number;
  meta: Record<string, unknown>;
  tables: Record<string, TableHeader>;
}

const MAGIC = 0x31504c48; /* "HLP1", little-endian */
export const MOST_ROWS = 64 * 1024 * 1024;

/** What stands for NULL in a column that has them. */
export const NULL = -1;

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

export class Payload {
  readonly header: Header;
  private readonly bytes: Uint8Array;
  private readonly start: number;
  private readonly unpacked = new Map<string, Float64Array>();
  private readonly checked = new Set<string>();
  private readonly unpackedInts = new Map<string, Int32Array>();

  constructor(bytes: Uint8Array) {
    if (bytes.length < 8) throw new PayloadError("The report's data is cut off: it is too short to be one.");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint32(0, true) !== MAGIC) throw new PayloadError("The report's data is not what this page can read.");
    const length = view.getUint32(4, true);
    if (length > bytes.length - 8) throw new PayloadError("The report's data is cut off within its header.");
    let header: Header;
    try {
      header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    } catch {
      throw new PayloadError("The report's data is damaged: its header cannot be read.");
    }
    if (typeof header !== "object" || header === null || typeof header.tables !== "object" || header.tables === null)
      throw new PayloadError("The report's data is damaged: its header names no tables.");
    if (header.format !== 1)
      throw new PayloadError(`The report's data has format ${String(header.format)}, this page reads format 1.`);
    this.header = header;
    this.bytes = bytes;
    this.start = 8 + length;
  }

  get meta(): Record<string, unknown> {
    const meta = this.header.meta;
    return typeof meta === "object" && meta !== null ? meta : {};
  }

  rows(table: string): number {
    const rows = this.header.tables[table]?.rows ?? 0;
    if (!isCount(rows) || rows > MOST_ROWS)
      throw new PayloadError(`The report's data is damaged: table ${table} claims an impossible size.`);
    return rows;
  }

  has(table: string, column: string): boolean {
    return this.header.tables[table]?.columns?.[column] !== undefined;
  }

  private raw(table: string, column: string): { bytes: Uint8Array; header: ColumnHeader } | null {
    const header = this.header.tables[table]?.columns?.[column];
    if (header === undefined) return null;
    const { at, bytes } = header;
    if (!isCount(at) || !isCount(bytes) || at + bytes > this.bytes.length - this.start)
      throw new PayloadError(`The report's data is cut off: ${table}.${column} lies outside of it.`);
    return { bytes: this.bytes.subarray(this.start + at, this.start + at + bytes), header };
  }

  /** The bytes of a column of kind b; empty where there is none. */
  blob(table: string, column: string): Uint8Array {
    return this.raw(table, column)?.bytes ?? new Uint8Array(0);
  }

  /** Zeros where the column is absent. */
  numbers(table: string, column: string): Float64Array {
    const key = `${table}.${column}`;
    let values = this.unpacked.get(key);
    if (!values) {
      values = new Float64Array(this.rows(table));
      const raw = this.raw(table, column);
      if (raw) unpack(raw.bytes, raw.header, values, key);
      this.unpacked.set(key, values);
    }
    return values;
  }

  /** As numbers(), for values that fit 31 bits and a sign. */
  ints(table: string, column: string): Int32Array {
    const key = `${table}.${column}`;
    let values = this.unpackedInts.get(key);
    if (!values) {
      values = new Int32Array(this.rows(table));
      const raw = this.raw(table, column);
      if (raw) unpack(raw.bytes, raw.header, values, key);
      this.unpackedInts.set(key, values);
    }
    return values;
  }

  /** References to rows of another table: each must be below `limit`, or -1 where the column has nulls. */
  references(table: string, column: string, limit: number): Int32Array {
    const values = this.ints(table, column);
    const checked = `${table}.${column} ${limit}`;
    if (this.checked.has(checked)) return values;
    this.checked.add(checked);
    for (let i = 0; i < values.length; i++)
      if (values[i]! >= limit || values[i]! < NULL)
        throw new PayloadError(`The report's data is damaged: ${table}.${column} points outside of its table.`);
    return values;
  }

  /** Once a payload is read, columns that will not be asked for again need not stay in memory twice. */
  forget(table: string, column: string): void {
    this.unpacked.delete(`${table}.${column}`);
    this.unpackedInts.delete(`${table}.${column}`);
  }
}

function unpack(bytes: Uint8Array, header: ColumnHeader, values: Float64Array | Int32Array, name: string): void {
  const rows = values.length;
  const isInt = values instanceof Int32Array;
  const less = header.null ? 1 : 0;
  const zigzag = header.kind === "s" || header.kind === "d";
  const difference = header.kind === "d";
  const runs = header.kind === "r";
  if (!zigzag && !runs && header.kind !== "u")
    throw new PayloadError(`The report's data is damaged: ${name} has an unknown kind.`);
  const end = bytes.length;
  let at = 0;
  let before = 0;
  let row = 0;
  while (row < rows) {
    /* one varint, the usual short ones first; above 2^31 by multiplication, since shifts are of 32 bits */
    if (at >= end) throw new PayloadError(`The report's data is cut off within ${name}.`);
    let byte = bytes[at++]!;
    const negative = zigzag && (byte & 1) === 1;
    /* of zigzag ones without the lowest bit, which is the sign: they can be of 54 bits, one more than is exact */
    let value = zigzag ? (byte & 0x7f) >> 1 : byte & 0x7f;
    if (byte >= 0x80) {
      let factor = zigzag ? 64 : 128;
      do {
        if (at >= end || factor > 2 ** 56) throw new PayloadError(`The report's data is cut off within ${name}.`);
        byte = bytes[at++]!;
        value += (byte & 0x7f) * factor;
        factor *= 128;
      } while (byte >= 0x80);
    }
    if (negative) value = -value - 1;
    if (difference) {
      value += before;
      before = value;
    }
    value -= less;
    if (isInt && (value > 0x7fffffff || value < -0x80000000))
      throw new PayloadError(`The report's data is damaged: ${name} has a number that is too large.`);
    if (!runs) {
      values[row++] = value;
      continue;
    }
    let count = 0;
    for (let factor = 1; ; factor *= 128) {
      if (at >= end || factor > 2 ** 35) throw new PayloadError(`The report's data is cut off within ${name}.`);
      byte = bytes[at++]!;
      count += (byte & 0x7f) * factor;
      if (byte < 0x80) break;
    }
    if (count === 0 || count > rows - row)
      throw new PayloadError(`The report's data is damaged: a run in ${name} is longer than its table.`);
    values.fill(value, row, row + count);
    row += count;
  }
}

/** Strings packed as a column of lengths and their text, decoded when asked for. */
export class Strings {
  private readonly offsets: Float64Array;
  private readonly text: Uint8Array;
  private readonly known: (string | undefined)[];
  private readonly decoder = new TextDecoder();

  constructor(payload: Payload, table: string) {
    const lengths = payload.numbers(table, "length");
    this.text = payload.blob(table, "text");
    this.offsets = new Float64Array(lengths.length + 1);
    for (let i = 0; i < lengths.length; i++) this.offsets[i + 1] = this.offsets[i]! + lengths[i]!;
    if (this.offsets[lengths.length]! > this.text.length)
      throw new PayloadError(`The report's data is cut off: texts of ${table} are missing.`);
    this.known = new Array(lengths.length);
  }

  get length(): number {
    return this.known.length;
  }

  get(index: number): string {
    if (index < 0 || index >= this.known.length) return "";
    let text = this.known[index];
    if (text === undefined) {
      text = this.decoder.decode(this.text.subarray(this.offsets[index]!, this.offsets[index + 1]!));
      this.known[index] = text;
    }
    return text;
  }

  bytes(index: number): Uint8Array {
    return this.text.subarray(this.offsets[index] ?? 0, this.offsets[index + 1] ?? 0);
  }
}
