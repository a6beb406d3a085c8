// How long the page takes with a big profile: `node bench/scale.mjs [NODES] [TICKS] [REPORT.html]`.
//
// Times are of Chromium with software rendering: from the navigation to the first painted flame graph, and, of zoom, search
// and a new range of time, from the change to the frame that shows it (two animation frames later at most). Medians of 5.
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { launch } from "../browser/chromium.mjs";
import { makePage } from "../browser/page.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const [nodes = "1000000", ticks = "1000", report] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), "heapline-viewer-"));
try {
  let page = report && resolve(report);
  if (!page) {
    await build({
      entryPoints: [join(here, "payload.ts")],
      bundle: true,
      platform: "node",
      format: "esm",
      outfile: join(folder, "payload.mjs"),
      logLevel: "warning",
    });
    const { makeBig } = await import(pathToFileURL(join(folder, "payload.mjs")).href);
    page = join(folder, "big.html");
    writeFileSync(page, makePage(makeBig(Number(nodes), Number(ticks)), { view: "flame" }));
  }
  const results = await measure(page);
  console.log(
    JSON.stringify(
      {
        nodes: report ? undefined : Number(nodes),
        ticks: report ? undefined : Number(ticks),
        bytes: statSync(page).size,
        ...results,
      },
      null,
      1,
    ),
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function median(values) {
  return Math.round(values.sort((a, b) => a - b)[values.length >> 1] * 10) / 10;
}

async function measure(page) {
  const browser = await launch();
  const address = pathToFileURL(page).href;
  const first = [];
  const shell = [];
  const steps = { zoom: [], out: [], search: [], range: [], moment: [], inverted: [], fold: [] };
  let heap = 0;
  for (let run = 0; run < 5; run++) {
    const tab = await browser.newPage({ viewport: { width: 1400, height: 860 } });
    tab.on("pageerror", (error) => console.error(error));
    await tab.goto(`${address}#view=flame`, { waitUntil: "commit" });
    first.push(
      await tab.evaluate(
        () =>
          new Promise((done) => {
            const look = () => {
              if (document.querySelector(".flame-canvas"))
                requestAnimationFrame(() => setTimeout(() => done(performance.now())));
              else setTimeout(look, 4);
            };
            look();
          }),
      ),
    );
    shell.push(await tab.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0));
    await tab.waitForTimeout(400);
    const after = (change) =>
      tab.evaluate(
        (text) =>
          new Promise((done) => {
            requestAnimationFrame(() => {
              const begin = performance.now();
              // the page's own way in: its address
              location.hash = text;
              addEventListener(
                "hashchange",
                () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin))),
                { once: true },
              );
            });
          }),
        change,
      );
    const zoom = await tab.evaluate(() => {
      const flame = document.querySelector(".flame");
      flame.focus();
      for (const key of ["ArrowDown", "ArrowDown", "ArrowDown"])
        flame.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      flame.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      return location.hash;
    });
    await tab.waitForTimeout(100);
    await after("view=flame");
    steps.zoom.push(await after(zoom.slice(1)));
    steps.out.push(await after("view=flame"));
    await after("view=flame&search=method_1"); // the first search makes the texts
    steps.search.push(await after("view=flame&search=method_42"));
    await after("view=flame");
    await after("view=flame&at=range&from=1&to=2"); // the first one unpacks the cells
    steps.range.push(await after("view=flame&at=range&from=2&to=7"));
    steps.moment.push(await after("view=flame&at=end"));
    steps.inverted.push(await after("view=flame&at=end&inverted=1"));
    steps.fold.push(await after("view=flame&fold=ipl"));
    heap = Math.max(heap, await tab.evaluate(() => performance.memory?.usedJSHeapSize ?? 0));
    await tab.close();
  }
  await browser.close();
  const out = { first_text_ms: median(shell), first_flame_ms: median(first) };
  for (const [name, values] of Object.entries(steps)) out[`${name}_ms`] = median(values);
  out.heap_mb = Math.round(heap / 1e6);
  return out;
}
