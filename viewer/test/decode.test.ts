import { describe, expect, test } from "vitest";
import { NULL, Payload, PayloadError, Strings } from "../src/data/decode.ts";
import { Profile } from "../src/data/model.ts";
import { Encoder } from "./encode.ts";
import { encodeSmall, randomly } from "./small.ts";

const one = (column: Parameters<Encoder["table"]>[1]) => {
  const e = new Encoder();
  e.table("t", column);
  return e.finish({ name: "é" });
};

describe("columns", () => {
  const values = [0, 1, 127, 128, 16383, 16384, 2 ** 31, 2 ** 32 + 5, 2 ** 53 - 2, 3, 3, 3];
  for (const kind of ["u", "s", "d", "r"] as const)
    test(`of kind ${kind} come back`, () => {
      const p = new Payload(one({ c: { kind, values } }));
      expect([...p.numbers("t", "c")]).toEqual(values);
      expect(p.meta.name).toBe("é");
    });
  test("may be negative, or null", () => {
    const p = new Payload(
      one({ d: { kind: "d", values: [5, -3, 2 ** 40] }, n: { kind: "u", null: true, values: [NULL, 0, 7] } }),
    );
    expect([...p.numbers("t", "d")]).toEqual([5, -3, 2 ** 40]);
    expect([...p.ints("t", "n")]).toEqual([-1, 0, 7]);
  });
  test("that are not there are zeros, tables without rows", () => {
    const p = new Payload(one({ c: { kind: "u", values: [1, 2] } }));
    expect([...p.numbers("t", "none")]).toEqual([0, 0]);
    expect(p.numbers("none", "c").length).toBe(0);
  });
  test("hold text in UTF-8", () => {
    const e = new Encoder();
    const at = [e.text("a"), e.text("日本\u{1f600}"), e.text("")];
    const strings = new Strings(new Payload(e.finish({})), "strings");
    expect(at.map((i) => strings.get(i))).toEqual(["a", "日本\u{1f600}", ""]);
  });
});

describe("broken data", () => {
  const good = encodeSmall(
    [{ file: "/app/a.py", name: "f", line: 1 }],
    [
      { parent: 0, frame: 0, kind: 0 },
      { parent: 0, frame: 1, kind: 1 },
    ],
    [{ stack: 1, peak: 5 }],
  );
  test("is one sentence, wherever it is cut", () => {
    for (let length = 0; length < good.length; length++)
      expect(() => {
        const p = new Profile(new Payload(good.slice(0, length)));
        for (const [table, { columns }] of Object.entries(p.payload.header.tables))
          for (const column of Object.keys(columns)) p.payload.numbers(table, column);
        p.siteName(p.stackYours[1]!);
        p.sitePlace(p.stackYours[1]!);
        throw new PayloadError("not even used"); /* what is cut off at the end may be no text at all */
      }).toThrow(PayloadError);
  });
  test("never makes another error than that, whatever byte is changed", () => {
    const random = randomly(3);
    for (let i = 0; i < 3000; i++) {
      const bad = good.slice();
      bad[Math.floor(random() * bad.length)] = Math.floor(random() * 256);
      try {
        const p = new Profile(new Payload(bad));
        for (let site = 0; site < p.sites; site++) p.sitePlace(site) + p.siteName(site);
      } catch (error) {
        expect(error).toBeInstanceOf(PayloadError);
      }
    }
  });
  test("with fewer values than rows is refused", () => {
    const e = new Encoder();
    e.table("t", { c: { kind: "u", values: [1] } });
    const bytes = e.finish({});
    const text = Buffer.from(bytes).toString("latin1").replace('"rows":1,', '"rows":9,');
    expect(() => new Payload(Buffer.from(text, "latin1")).numbers("t", "c")).toThrow();
  });
  test("of a later format says which", () => {
    const bytes = one({ c: { kind: "u", values: [1] } });
    const text = Buffer.from(bytes).toString("latin1").replace('"format":1', '"format":2');
    expect(() => new Payload(Buffer.from(text, "latin1"))).toThrow(/format 2/);
  });
  test("with a caller behind its call is refused", () => {
    const bad = encodeSmall(
      [{ file: "/app/a.py", name: "f", line: 1 }],
      [
        { parent: 0, frame: 0, kind: 0 },
        { parent: 1, frame: 1, kind: 1 },
      ],
      [{ stack: 1, peak: 5 }],
    );
    expect(() => new Profile(new Payload(bad))).toThrow(/before its caller/);
  });
});
