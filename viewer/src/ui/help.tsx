/* Keys, and what the words mean. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { app } from "../app.ts";
import { Choice, chooseEditor, EDITORS, editor } from "./bits.tsx";

export const helpOpen = signal(false);

const KEYS: [string[], string][] = [
  [["1", "…", "7"], "the views, in the order of their names above"],
  [["/"], "search frames by file, line or function; a regular expression"],
  [["n", "N"], "next and last frame that matches"],
  [["←", "→", "↑", "↓"], "flame graph: beside, caller, called; tables: rows"],
  [["Enter"], "zoom into the frame; open the row"],
  [["Esc", "Backspace"], "zoom out"],
  [["i"], "flame graph inverted: from where memory was taken, outwards"],
  [["f"], "flame graph the other way up"],
  [["s"], "callers and callees of the frame's function"],
  [["o"], "the frame's source"],
  [["c"], "copy the frame's stack"],
  [["p", "e", "a", "t", "r"], "at the peak, at the end, allocated, temporary, range of time"],
  [["?"], "this"],
];

export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (!element) return;
    if (helpOpen.value && !element.open) element.showModal();
    if (!helpOpen.value && element.open) element.close();
  }, [helpOpen.value]);
  const meta = app.value!.profile.meta;
  return (
    <dialog ref={dialog} aria-labelledby="help-title" onClose={() => (helpOpen.value = false)}>
      <h2 id="help-title">Keys and words</h2>
      <dl>
        {KEYS.map(([keys, text]) => (
          <>
            <dt>
              {keys.map((key) => (
                <>{key === "…" ? "… " : <kbd>{key}</kbd>} </>
              ))}
            </dt>
            <dd>{text}</dd>
          </>
        ))}
      </dl>
      <h3>Words</h3>
      <dl>
        <dt>heap</dt>
        <dd>what the program asked for and has not given back: sizes as requested, MB = 10⁶ bytes</dd>
        <dt>peak</dt>
        <dd>the highest value of the heap; each line's share of it adds up to it exactly</dd>
        <dt>your line</dt>
        <dd>memory that a library takes is charged to the line of your own code that called it</dd>
        <dt>temporary</dt>
        <dd>freed when at most that many later allocations of the same thread had happened</dd>
        <dt>range of time</dt>
        <dd>rounded down to ticks; exact at their boundaries</dd>
        <dt>hatched</dt>
        <dd>frames too narrow to be drawn, together: zoom in to see them</dd>
        <dt>(other)</dt>
        <dd>frames folded together so that the file keeps its size; their sums are exact</dd>
      </dl>
      <h3>Settings</h3>
      <p>
        Links open files in{" "}
        <Choice
          label="Editor"
          value={editor.value}
          onChoose={chooseEditor}
          choices={[
            ...Object.entries(EDITORS).map(([value, { name }]) => ({ value, text: name })),
            ...(editor.value !== "none" && !EDITORS[editor.value] ? [{ value: editor.value, text: editor.value }] : []),
            { value: "none", text: "no editor" },
          ]}
        />
      </p>
      <h3>This report</h3>
      <p class="dim">
        heapline {meta.version}
        {meta.host && ` on ${meta.host}`}
        {meta.python && `, Python ${meta.python}`}
        {meta.options && `, options ${meta.options}`}
      </p>
      <p>
        <button type="button" class="button" onClick={() => (helpOpen.value = false)}>
          Close
        </button>
      </p>
    </dialog>
  );
}
