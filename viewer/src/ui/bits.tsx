/* Small parts that several views are made of. */
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { app } from "../app.ts";
import { go, state } from "../state.ts";
import { share, signedSize, size } from "../text.ts";

/** A bar for a share of a whole. */
export function Meter({ part, whole, tone }: { part: number; whole: number; tone?: string }) {
  const width = whole > 0 ? Math.min(100, Math.max(0, (100 * part) / whole)) : 0;
  return (
    <span class="meter" aria-hidden="true">
      <i class={tone} style={{ width: `${width}%` }} />
    </span>
  );
}

/** One of a few: buttons side by side. */
export function Segments<T extends string>({
  label,
  choices,
  value,
  onChoose,
}: {
  label: string;
  choices: { value: T; text: ComponentChildren; title?: string }[];
  value: T;
  onChoose: (value: T) => void;
}) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {choices.map((choice) => (
        <button
          key={choice.value}
          type="button"
          aria-pressed={choice.value === value}
          title={choice.title}
          onClick={() => onChoose(choice.value)}
        >
          {choice.text}
        </button>
      ))}
    </div>
  );
}

export function Check({
  text,
  title,
  checked,
  onChange,
}: {
  text: string;
  title?: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}) {
  return (
    <label class="check" title={title}>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.currentTarget.checked)} />
      {text}
    </label>
  );
}

export function Choice({
  label,
  value,
  choices,
  onChoose,
}: {
  label: string;
  value: string;
  choices: { value: string; text: string }[];
  onChoose: (value: string) => void;
}) {
  return (
    <select
      class="field"
      aria-label={label}
      title={label}
      value={value}
      onChange={(event) => onChoose(event.currentTarget.value)}
    >
      {choices.map((choice) => (
        <option key={choice.value} value={choice.value}>
          {choice.text}
        </option>
      ))}
    </select>
  );
}

export const toast = signal("");
let toastTimer = 0;

export function say(text: string): void {
  toast.value = text;
  clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => {
    toast.value = "";
  }, 2500);
}

export async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch {
    /* file: pages may not; the old way needs a selection */
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    say(done ? `${what} copied` : "This browser does not let the page copy");
  }
}

/** Address that opens a place in an editor; "" where there is none. */
export function editorLink(path: string, line: number, column = 1): string {
  const chosen = editor.value;
  if (!path.startsWith("/") || chosen === "none") return "";
  const template = EDITORS[chosen]?.template ?? chosen;
  const safe = encodeURI(path).replace(/[?#]/g, encodeURIComponent);
  const link = template
    .replace("{path}", safe)
    .replace("{line}", String(Math.max(1, line)))
    .replace("{column}", String(Math.max(1, column)));
  return /^(javascript|data|vbscript):/i.test(link.trim()) ? "" : link;
}

export const EDITORS: Record<string, { name: string; template: string }> = {
  vscode: { name: "VS Code", template: "vscode://file{path}:{line}:{column}" },
  cursor: { name: "Cursor", template: "cursor://file{path}:{line}:{column}" },
  vscodium: { name: "VSCodium", template: "vscodium://file{path}:{line}:{column}" },
  zed: { name: "Zed", template: "zed://file{path}:{line}:{column}" },
  pycharm: { name: "PyCharm", template: "pycharm://open?file={path}&line={line}" },
  idea: { name: "IntelliJ IDEA", template: "idea://open?file={path}&line={line}" },
  sublime: { name: "Sublime Text", template: "subl://open?url=file://{path}&line={line}" },
  emacs: { name: "Emacs (org-protocol)", template: "emacs://open?url=file://{path}&line={line}" },
};

/** A name of EDITORS, "none", or a template of the report's own. */
export const editor = signal<string>("vscode");

export function beginEditor(fromReport: string): void {
  let kept: string | null = null;
  try {
    kept = localStorage.getItem("heapline-editor");
  } catch {
    /* no storage */
  }
  const named = Object.entries(EDITORS).find(([name, { template }]) => fromReport === name || fromReport === template);
  editor.value = kept ?? named?.[0] ?? (fromReport.includes("{path}") ? fromReport : "vscode");
}

export function chooseEditor(name: string): void {
  editor.value = name;
  try {
    localStorage.setItem("heapline-editor", name);
  } catch {
    /* for this visit */
  }
}

/** Goes to where a site can be read: its source, or, without, its callers in the flame graph. */
export function openSite(key: number): void {
  const a = app.value;
  if (!a) return;
  const file = a.names.file(key);
  if (a.profile.hasSource(file)) go({ view: "source", file, line: a.names.line(key) });
  else showCallers(key);
}

export function goToSource(file: number, line: number): void {
  go({ view: "source", file, line });
}

export function showCallers(key: number): void {
  const a = app.value;
  if (!a || key < 0) return;
  go({ view: "flame", sandwich: a.names.functionGroups()[key]!, zoom: [] });
}

/** Sizes or counts, as the page's unit is. */
export function inUnit(value: number): string {
  return state.value.unit === "bytes" ? size(value) : Math.round(value).toLocaleString("en-US");
}

/** Where a line is, with its function: "stations.py:37  smooth". */
export function Place({ siteKey, onOpen }: { siteKey: number; onOpen?: () => void }) {
  const names = app.value!.names;
  const place = names.place(siteKey);
  const name = names.name(siteKey);
  const text = place === "" ? name : place;
  return (
    <>
      {onOpen ? (
        <button
          type="button"
          class="link"
          title={`${names.path(siteKey) || name}`}
          onClick={(event) => {
            event.stopPropagation();
            onOpen();
          }}
        >
          {text}
        </button>
      ) : (
        <b>{text}</b>
      )}
      {place !== "" && <span class="dim"> {name}</span>}
    </>
  );
}

/** The growth of something, with the word for screen readers in its sign. */
export function Growth({ now, before, text }: { now: number; before: number; text?: (value: number) => string }) {
  const change = now - before;
  const tone = change > 0 ? "grown" : change < 0 ? "shrunk" : "dim";
  return <span class={tone}>{(text ?? signedSize)(change)}</span>;
}

export { share };
