// The page in Chromium: `npm run browser` with a made-up profile, `node browser/run.mjs REPORT.html ..` with real ones.
//
// Looks at what a person would: that each view comes up without an error and nothing is asked of a network, that keys do what
// they say, that links lead back, that axe finds nothing serious in light and dark, and that no text of the program's
// becomes markup.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { launch } from "./chromium.mjs";
import { makePage } from "./page.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "heapline-viewer-"));
const VIEWS = ["overview", "timeline", "flame", "source", "table"];

await build({
  entryPoints: [join(here, "hostile.ts")],
  bundle: true,
  platform: "node",
  format: "esm",
  outfile: join(folder, "hostile.mjs"),
  logLevel: "warning",
});
const { hostile, older } = await import(pathToFileURL(join(folder, "hostile.mjs")).href);
const browser = await launch();
let failed = 0;

async function check(name, body) {
  try {
    await body();
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}

/** A page on which any error, any refusal of its policy and any request but its own file is a failure. */
async function open(path, { hash = "", theme = "light", width = 1400, strict = true } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 860 },
    colorScheme: theme,
    bypassCSP: !strict,
  });
  const tab = await context.newPage();
  const wrong = [];
  tab.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  tab.on("console", (message) => {
    if (message.type() === "error") wrong.push(`console: ${message.text()}`);
  });
  tab.on("request", (request) => {
    if (!/^(file|blob|data):/.test(request.url())) wrong.push(`request: ${request.url()}`);
  });
  tab.on("dialog", (dialog) => {
    wrong.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await tab.goto(pathToFileURL(path).href + hash);
  await tab.waitForSelector("#view, .message");
  return { tab, wrong, close: () => context.close() };
}

async function settle(tab) {
  await tab.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))),
  );
}

async function checkPage(label, path, views) {
  for (const theme of ["light", "dark"])
    for (const view of views)
      await check(`${label}: ${view} is accessible (${theme})`, async () => {
        const { tab, wrong, close } = await open(path, { hash: `#view=${view}`, theme, strict: false });
        await settle(tab);
        await tab.evaluate(axe);
        const { violations } = await tab.evaluate(() =>
          window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }),
        );
        const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
        assert.deepEqual(
          serious.map(
            ({ id, nodes }) =>
              `${id}: ${nodes
                .slice(0, 3)
                .map((node) => node.html.slice(0, 160))
                .join(" | ")}`,
          ),
          [],
        );
        assert.deepEqual(wrong, []);
        await close();
      });
  for (const width of [1400, 900])
    await check(`${label}: no view is wider than ${width} pixels`, async () => {
      const { tab, wrong, close } = await open(path, { width });
      for (const view of views) {
        await tab.evaluate((to) => {
          location.hash = `view=${to}`;
        }, view);
        await settle(tab);
        assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth), width, view);
      }
      assert.deepEqual(wrong, []);
      await close();
    });
}

const sum = (tab) => tab.evaluate(() => Number(document.getElementById("sum").dataset.bytes));

try {
  const page = join(folder, "page.html");
  const compared = join(folder, "compared.html");
  writeFileSync(page, makePage(hostile()));
  writeFileSync(compared, makePage(hostile(), { old: older() }));

  await check("names of a hostile program stay text", async () => {
    const { tab, wrong, close } = await open(page);
    for (const view of [...VIEWS, "lines"]) {
      await tab.evaluate((to) => {
        location.hash = `view=${to}`;
      }, view);
      await settle(tab);
      if (view === "flame") await tab.mouse.move(300, 300);
      await settle(tab);
      const found = await tab.evaluate(() => ({
        marks: document.querySelectorAll("b[id=evil], img, iframe, object, embed, svg[onload], a[href^='javascript' i]")
          .length,
        ran: window.evil === true,
        scripts: [...document.scripts].filter((script) => script.type !== "application/octet-stream").length,
      }));
      assert.deepEqual(found, { marks: 0, ran: false, scripts: 1 }, view);
    }
    await tab.evaluate(() => {
      location.hash = "view=table&group=leaf";
    });
    await settle(tab);
    assert.match(await tab.innerText("#view"), /<img src=x onerror=/);
    assert.deepEqual(wrong, []);
    await close();
  });

  await check("keys go through views, moments and frames", async () => {
    const { tab, wrong, close } = await open(page);
    const at = () => tab.evaluate(() => location.hash);
    await tab.keyboard.press("3");
    assert.match(await at(), /view=flame/);
    const peak = await sum(tab);
    await tab.keyboard.press("a");
    await settle(tab);
    assert.notEqual(await sum(tab), peak);
    await tab.keyboard.press("p");
    await settle(tab);
    assert.equal(await sum(tab), peak);
    await tab.focus(".flame");
    await tab.keyboard.press("ArrowDown");
    const first = await tab.innerText("#frame-detail");
    await tab.keyboard.press("ArrowRight");
    assert.notEqual(await tab.innerText("#frame-detail"), first);
    await tab.keyboard.press("ArrowLeft");
    assert.equal(await tab.innerText("#frame-detail"), first);
    await tab.keyboard.press("Enter");
    assert.match(await at(), /zoom=/);
    await tab.keyboard.press("Escape");
    assert.doesNotMatch(await at(), /zoom=/);
    await tab.keyboard.press("i");
    assert.match(await at(), /inverted=1/);
    await tab.keyboard.press("i");
    await tab.keyboard.press("f");
    assert.match(await at(), /flip=1/);
    await tab.keyboard.press("f");
    await settle(tab);
    await tab.keyboard.press("ArrowDown");
    await tab.keyboard.press("s");
    assert.match(await at(), /function=/);
    await settle(tab);
    assert.equal(await tab.locator(".flame").count(), 2);
    await tab.keyboard.press("Escape");
    await tab.keyboard.press("/");
    await tab.keyboard.type("leak");
    assert.match(await tab.innerText(".search output"), /%/);
    await tab.keyboard.press("Escape");
    assert.equal(await tab.inputValue("#search"), "");
    await tab.keyboard.press("?");
    await settle(tab);
    assert.equal(await tab.locator("dialog[open]").count(), 1);
    await tab.keyboard.press("Escape");
    await settle(tab);
    assert.equal(await tab.locator("dialog[open]").count(), 0);
    await tab.keyboard.press("5");
    await settle(tab);
    await tab.focus("[data-row='0']");
    await tab.keyboard.press("ArrowDown");
    assert.equal(await tab.evaluate(() => document.activeElement.dataset.row), "1");
    await tab.keyboard.press("Enter");
    assert.match(await at(), /view=(source|flame)/);
    assert.deepEqual(wrong, []);
    await close();
  });

  await check("the browser's back undoes, and a link shows what is seen", async () => {
    const { tab, close } = await open(page, { hash: "#view=flame" });
    const box = await tab.locator(".flame").boundingBox();
    await tab.mouse.click(box.x + 200, box.y + 30);
    const zoomed = await tab.evaluate(() => location.hash);
    assert.match(zoomed, /zoom=/);
    const crumbs = await tab.innerText(".crumbs");
    await tab.goBack();
    await settle(tab);
    assert.notEqual(await tab.innerText(".crumbs"), crumbs);
    await close();
    const again = await open(page, { hash: zoomed });
    await settle(again.tab);
    assert.equal(await again.tab.innerText(".crumbs"), crumbs);
    await again.close();
  });

  await check("dragging over the curve chooses a range that everything follows", async () => {
    const { tab, wrong, close } = await open(page, { hash: "#view=table" });
    const before = await sum(tab);
    const box = await tab.locator(".strip .u-over").boundingBox();
    await tab.mouse.move(box.x + box.width * 0.2, box.y + 20);
    await tab.mouse.down();
    await tab.mouse.move(box.x + box.width * 0.7, box.y + 20, { steps: 5 });
    await tab.mouse.up();
    await settle(tab);
    assert.match(await tab.evaluate(() => location.hash), /at=range/);
    assert.notEqual(await sum(tab), before);
    await tab.locator("select[aria-label='Which blocks']").selectOption("alive");
    await settle(tab);
    assert.match(await tab.innerText("#sum"), /alive at/);
    assert.deepEqual(wrong, []);
    await close();
  });

  await check("data that is damaged is one sentence", async () => {
    const whole = readFileSync(page, "utf8");
    const begin = whole.indexOf('id="heapline-data">') + 'id="heapline-data">'.length;
    const end = whole.indexOf("<", begin);
    for (const data of [
      "",
      "%%%",
      whole.slice(begin, begin + Math.floor((end - begin) / 2)),
      Buffer.from("no").toString("base64"),
    ]) {
      const path = join(folder, "damaged.html");
      writeFileSync(path, whole.slice(0, begin) + data + whole.slice(end));
      const { tab, close } = await open(path);
      assert.match(await tab.innerText("[role=alert]"), /^heapline\s+\S.*\./s);
      await close();
    }
  });

  await checkPage("made-up", page, [...VIEWS, "lines"]);
  await checkPage("comparison", compared, ["overview", "flame", "source", "table", "diff"]);
  for (const path of process.argv.slice(2)) await checkPage(path, resolve(path), VIEWS);
} finally {
  await browser.close();
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? "all well" : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
