// Pictures of a page: `node browser/shots.mjs PAGE.html FOLDER [VIEW|HASH ..]`, each at 1400 and 900 pixels, light and dark.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./chromium.mjs";

const [page, folder, ...asked] = process.argv.slice(2);
const views = asked.length > 0 ? asked : ["overview", "timeline", "flame", "source", "table"];
const widths = (process.env.WIDTHS ?? "1400,900").split(",").map(Number);
const themes = (process.env.THEMES ?? "light,dark").split(",");
mkdirSync(folder, { recursive: true });
const browser = await launch();
for (const width of widths)
  for (const theme of themes) {
    const context = await browser.newContext({ viewport: { width, height: 860 }, colorScheme: theme });
    const tab = await context.newPage();
    tab.on("console", (message) => {
      if (message.type() === "error") console.error("console:", message.text());
    });
    tab.on("pageerror", (error) => console.error("page:", error.stack ?? error.message));
    for (const view of views) {
      const [name, hash] = view.includes("=") ? view.split(/:(.*)/) : [view, `view=${view}`];
      await tab.goto(`${pathToFileURL(resolve(page))}#${hash}`);
      await tab.reload();
      await tab.waitForSelector("#view");
      await tab.waitForTimeout(250);
      await tab.screenshot({ path: join(folder, `${name}-${width}-${theme}.png`) });
    }
    await context.close();
  }
await browser.close();
