/* Light or dark: as the system says it, unless the reader chose. Canvases read their colours here. */
import { computed, signal } from "@preact/signals";
import { Colours } from "../canvas/colours.ts";
import type { Look } from "../canvas/flame.ts";

export type Theme = "light" | "dark";

const system = matchMedia("(prefers-color-scheme: dark)");
const chosen = signal<Theme | null>(remembered());
const systemIsDark = signal(system.matches);
system.addEventListener("change", () => {
  systemIsDark.value = system.matches;
});

function remembered(): Theme | null {
  try {
    const value = localStorage.getItem("heapline-theme");
    return value === "light" || value === "dark" ? value : null;
  } catch {
    return null; /* pages without storage */
  }
}

export const theme = computed<Theme>(() => chosen.value ?? (systemIsDark.value ? "dark" : "light"));

export function turnTheme(): void {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("heapline-theme", chosen.value);
  } catch {
    /* then it is for this visit */
  }
}

/** A custom property of the style sheet, in the theme at hand. */
export const property = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Everything that canvases are drawn with. */
export const palette = computed(() => {
  document.documentElement.dataset.theme = theme.value;
  const look: Look = {
    ink: property("--ink"),
    inkLight: theme.value === "dark" ? property("--ink") : "#ffffff",
    background: property("--ground"),
    line: property("--line"),
    accent: property("--accent"),
    match: property("--match"),
    hatch: property("--hatch"),
  };
  if (theme.value === "dark") look.ink = "#17181a";
  return { look, colours: new Colours(theme.value === "dark"), theme: theme.value };
});
