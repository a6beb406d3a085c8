/* Writes payloads, for tests and for the bench: the counterpart of src/data/decode.ts, from plain arrays. */
import { gzipSync } from "node:zlib";
import type { ColumnHeader, Kind, TableHeader } from "../src/data/decode.ts";

class Bytes {
  private buffer = new Uint8Array(1 << 16);
  length = 0;

  push(byte: number): void {
    if (this.length === this.buffer.length) {
      const grown = new Uint8Array(this.buffer.length * 2);
      grown.set(this.buffer);
      this.buffer = grown;
    }
    this.buffer[this.length++] = byte;
  }

  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`not a varint: ${value}`);
    while (value >= 128) {
      this.push((value % 128) | 0x80);
      value = Math.floor(value / 128);
    }
    this.push(value);
  }

  /** The sign is the lowest bit; together they can have one bit more than is exact in a number. */
  zigzag(value: number): void {
    const most = value < 0 ? -value - 1 : value;
    const rest = Math.floor(most / 64);
    this.push((most % 64) * 2 + (value < 0 ? 1 : 0) + (rest > 0 ? 0x80 : 0));
    if (rest > 0) this.varint(rest);
  }

  all(bytes: Uint8Array): void {
    for (const byte of bytes) this.push(byte);
  }

  get bytes(): Uint8Array {
    return this.buffer.subarray(0, this.length);
  }
}

export interface ColumnSpec {
  kind: Kind;
  null?: boolean;
  values: ArrayLike<number> | Uint8Array;
}

export type TableSpec = Record<string, ColumnSpec>;

export class Encoder {
  private readonly columns = new Bytes();
  private readonly tables: Record<string, TableHeader> = {};
  private readonly texts = new Map<string, number>([["", 0]]);

  text(value: string): number {
    let index = this.texts.get(value);
    if (index === undefined) {
      index = this.texts.size;
      this.texts.set(value, index);
    }
    return index;
  }

  table(name: string, spec: TableSpec, rows = 0): void {
    const columns: Record<string, ColumnHeader> = {};
    for (const [column, { kind, values, null: nulls }] of Object.entries(spec)) {
      const at = this.columns.length;
      if (kind === "b") this.columns.all(values as Uint8Array);
      else {
        rows = values.length;
        let before = 0;
        for (let i = 0; i < values.length; i++) {
          const value = values[i]! + (nulls ? 1 : 0);
          if (kind === "u") this.columns.varint(value);
          else if (kind === "s") this.columns.zigzag(value);
          else if (kind === "d") {
            this.columns.zigzag(value - before);
            before = value;
          } else {
            let count = 1;
            while (i + count < values.length && values[i + count] === values[i]) count++;
            this.columns.varint(value);
            this.columns.varint(count);
            i += count - 1;
          }
        }
      }
      columns[column] = { at, bytes: this.columns.length - at, kind, ...(nulls ? { null: true } : {}) };
    }
    this.tables[name] = { rows, columns };
  }

  finish(meta: Record<string, unknown>): Uint8Array {
    const encoder = new TextEncoder();
    const texts = [...this.texts.keys()].map((text) => encoder.encode(text));
    const all = new Bytes();
    for (const text of texts) all.all(text);
    this.table("strings", {
      length: { kind: "u", values: texts.map((text) => text.length) },
      text: { kind: "b", values: all.bytes },
    });
    this.tables.strings!.rows = texts.length;
    const header = encoder.encode(JSON.stringify({ format: 1, meta, tables: this.tables }));
    const out = new Uint8Array(8 + header.length + this.columns.length);
    const view = new DataView(out.buffer);
    view.setUint32(0, 0x31504c48, true);
    view.setUint32(4, header.length, true);
    out.set(header, 8);
    out.set(this.columns.bytes, 8 + header.length);
    return out;
  }
}

export function toBase64(bytes: Uint8Array): string {
  return gzipSync(bytes).toString("base64");
}
