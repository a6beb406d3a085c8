/* Begins the page: reads the data, or says in a sentence why it cannot. */
import "./styles/viewer.css";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { App, app } from "./app.ts";
import { PayloadError } from "./data/decode.ts";
import { EmbeddedSource, HttpSource } from "./data/source.ts";
import { beginState, go, state } from "./state.ts";
import { beginEditor, toast } from "./ui/bits.tsx";
import { Help, helpOpen } from "./ui/help.tsx";
import { Head, SelectionBar, Strip, views } from "./ui/shell.tsx";
import { palette } from "./ui/theme.ts";
import { DiffView } from "./views/diff.tsx";
import { FlameView, flameMatch } from "./views/flame.tsx";
import { LinesView } from "./views/lines.tsx";
import { Overview } from "./views/overview.tsx";
import { SourceView } from "./views/source.tsx";
import { TableView } from "./views/table.tsx";
import { TimelineView } from "./views/timeline.tsx";

function View() {
  switch (state.value.view) {
    case "timeline":
      return <TimelineView />;
    case "flame":
      return <FlameView />;
    case "source":
      return <SourceView />;
    case "table":
      return <TableView />;
    case "diff":
      return app.value!.old ? <DiffView /> : <Overview />;
    case "lines":
      return <LinesView />;
    default:
      return <Overview />;
  }
}

function Page() {
  const a = app.value!;
  void palette.value;
  const { view } = state.value;
  useEffect(() => {
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const wrong = a.check();
  return (
    <>
      <Head />
      {view !== "overview" && view !== "lines" && <SelectionBar />}
      {view !== "overview" && view !== "lines" && view !== "timeline" && <Strip />}
      {wrong !== "" && (
        <div class="warning" role="alert">
          {wrong}
        </div>
      )}
      <View />
      <Help />
      {toast.value !== "" && (
        <output class="toast" aria-live="polite">
          {toast.value}
        </output>
      )}
    </>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape" && event.target instanceof HTMLInputElement) {
      if (event.target.type === "search") go({ search: "" }, "replace");
      event.target.blur();
    }
    if (event.key === "Enter" && (event.target as HTMLElement).id === "search") flameMatch(event.shiftKey ? -1 : 1);
    return;
  }
  if (helpOpen.value) return;
  const s = state.value;
  const at = Number(event.key) - 1;
  const all = views();
  if (at >= 0 && at < all.length) go({ view: all[at]! });
  else if (event.key === "/") {
    document.getElementById("search")?.focus();
  } else if (event.key === "?") helpOpen.value = true;
  else if (event.key === "n") flameMatch(1);
  else if (event.key === "N") flameMatch(-1);
  else if (event.key === "p") go({ moment: "peak" });
  else if (event.key === "e") go({ moment: "end" });
  else if (event.key === "a") go({ moment: "allocated" });
  else if (event.key === "t") go({ moment: "temporary" });
  else if (event.key === "r")
    go({ moment: "range", ...(s.to_ns > s.from_ns ? {} : { from_ns: 0, to_ns: app.value!.profile.meta.length_ns }) });
  else if (event.key === "i" && s.view === "flame") go({ inverted: !s.inverted, zoom: [], sandwich: -1 });
  else if (event.key === "f" && s.view === "flame") go({ flip: !s.flip });
  else if ((event.key === "Escape" || event.key === "Backspace") && s.view === "flame") {
    if (s.zoom.length > 0) go({ zoom: s.zoom.slice(0, -1) });
    else if (s.sandwich >= 0) go({ sandwich: -1 });
  } else return;
  event.preventDefault();
}

function fail(root: HTMLElement, error: unknown): void {
  const text =
    error instanceof PayloadError
      ? error.message
      : `The report cannot be shown: ${error instanceof Error ? error.message : String(error)}.`;
  render(
    <div class="message" role="alert">
      <h1>heapline</h1>
      <p>{text}</p>
    </div>,
    root,
  );
}

async function begin(): Promise<void> {
  let root = document.getElementById("heapline-app");
  if (!root) {
    root = document.createElement("div");
    root.id = "heapline-app";
    document.body.append(root);
  }
  void palette.value;
  try {
    const address = document.body.dataset.source;
    const source = address ? new HttpSource(address) : new EmbeddedSource(document);
    const { profile, old } = await source.load();
    const made = new App(profile, old);
    beginEditor(made.profile.meta.editor);
    beginState(document.body.dataset.view ?? null, document.body.dataset.state ?? "");
    app.value = made;
    if (made.profile.meta.title) document.title = made.profile.meta.title;
    document.getElementById("heapline-summary")?.remove();
    root.textContent = "";
    render(<Page />, root);
  } catch (error) {
    fail(root, error);
  }
}

begin();
