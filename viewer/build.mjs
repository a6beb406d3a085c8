// Bundles the page: viewer.js and viewer.css, each one file, minified, without comments but for the licences' names.
// `node build.mjs [FOLDER]`, by default dist/. Both end without a newline: a page's policy names them by their hashes.
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = process.argv[2] ?? join(here, "dist");

const result = await build({
  absWorkingDir: here,
  entryPoints: { viewer: "src/main.tsx" },
  outdir: folder,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  metafile: true,
  logLevel: "warning",
});

// What stands in a <script> element must not end it, whatever a library has in its strings.
const script = join(folder, "viewer.js");
writeFileSync(
  script,
  readFileSync(script, "utf8").replaceAll("</script", "<\\/script").replaceAll("<!--", "<\\!--").trimEnd(),
);
const style = join(folder, "viewer.css");
writeFileSync(style, readFileSync(style, "utf8").trimEnd());

// The licences of what is in the bundle, for the head of the page.
const packages = new Set();
for (const path of Object.keys(result.metafile.inputs)) {
  const name = path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1];
  if (name) packages.add(name);
}
const notices = [...packages].sort().map((name) => {
  const about = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
  return `${name} ${about.version}, ${about.license}`;
});
writeFileSync(join(folder, "notices.txt"), `${notices.join("\n")}\n`);
