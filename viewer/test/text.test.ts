import { expect, test } from "vitest";
import { clean, count, parseTime, share, signedSize, size, time } from "../src/text.ts";

test("sizes are rounded as in the terminal", () => {
  const cases: [number, string][] = [
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [1125, "1.12 kB"] /* exactly between: to the even one, as printf has it */,
    [1135, "1.14 kB"],
    [9994, "9.99 kB"],
    [9995, "10.0 kB"],
    [999_949, "999.9 kB"],
    [999_950, "1.00 MB"],
    [88_900_000, "88.9 MB"],
    [1_170_000_000, "1.17 GB"],
    [-54_300_000, "-54.3 MB"],
  ];
  for (const [bytes, text] of cases) expect(size(bytes)).toBe(text);
  expect(signedSize(1500)).toBe("+1.50 kB");
  expect(signedSize(-1500)).toBe("\u22121.50 kB");
  expect(signedSize(0)).toBe("±0 B");
});

test("counts, times and shares", () => {
  expect(count(1234567)).toBe("1,234,567");
  expect(count(12)).toBe("12");
  expect(time(850e6)).toBe("850 ms");
  expect(time(12.5e9)).toBe("12.50 s");
  expect(time(125e9)).toBe("2 min 05 s");
  expect(time(3 * 3600e9 + 600e9)).toBe("3 h 10 min");
  expect(share(1, 100000)).toBe("<0.1 %");
  expect(share(99_999, 100_000)).toBe("99.9 %");
  expect(share(5, 5)).toBe("100 %");
  expect(share(0, 5)).toBe("0.0 %");
  expect(share(1, 0)).toBe("");
});

test("times are read as they are typed", () => {
  expect(parseTime("12.5s", 1)).toBe(12.5e9);
  expect(parseTime("850 ms", 1)).toBe(850e6);
  expect(parseTime("80%", 1e9)).toBe(8e8);
  for (const bad of ["", "abc", "-1", "1e9", "101%", "1 2"]) expect(parseTime(bad, 1)).toBeNull();
});

test("what would act on the text around it is shown", () => {
  expect(clean("a\u001b[31m\u202eb\n")).toBe("a\\x1b[31m\\u202eb\\x0a");
});
