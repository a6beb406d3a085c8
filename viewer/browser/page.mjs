// Makes pages as src/report/page.c does, from the bundle in dist/ and payloads, so that tests need no build of heapline.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

export function makePage(payload, { old = null, view = "overview", title = "heapline" } = {}) {
  const script = readFileSync(join(dist, "viewer.js"), "utf8");
  const style = readFileSync(join(dist, "viewer.css"), "utf8");
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; img-src data:; base-uri 'none'; form-action 'none'`;
  const data = (id, bytes) =>
    `<script type="application/octet-stream" id="${id}">${gzipSync(bytes).toString("base64")}</script>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${title}</title>
<style>${style}</style></head>
<body data-view="${view}"><div id="heapline-app"><pre id="heapline-summary">reading ..</pre></div>
${data("heapline-data", payload)}
${old ? data("heapline-old", old) : ""}
<script>${script}</script>
</body></html>
`;
}
