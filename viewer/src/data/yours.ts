/*
 * Whose line a stack is: the counterpart of src/report/yours.c, rule by rule. Passes over arrays, no recursion: a call tree
 * can have a million nodes and be 10,000 deep.
 */
import { NO_PYTHON_SITE, Origin, type Profile, SiteKind, STARTUP_SITE, StackKind } from "./model.ts";

const STARTUP_FILES = /^<frozen (importlib|site>$|zipimport>$)/;
const TYPED = /^<(ipython|stdin>$|console|doctest)/;

export interface Charged {
  leaf: Int32Array;
  yours: Int32Array;
  nativeOnly: boolean;
  hasNative: boolean;
  origin: Origin;
}

function isOwnNative(module: string, source: string): boolean {
  if (module === "" || /^(\/usr\/lib|\/lib|\[)/.test(module) || module.endsWith("/libheapline.so")) return false;
  return !(
    /^(\/usr\/include\/|\/usr\/lib\/|\/usr\/local\/include\/|\/rustc\/)/.test(source) ||
    /\/include\/c\+\+\/|\/\.cargo\/registry\/|\/rustlib\/src\//.test(source)
  );
}

export function chargeStacks(p: Profile): Charged {
  const n = p.stacks;
  const { stackParent: parent, stackFrame: frame, stackKind: kind } = p;

  /* of files */
  const startup = new Uint8Array(p.files);
  const madeUp = new Uint8Array(p.files);
  for (let f = 0; f < p.files; f++) {
    const path = p.path(f);
    const stdlib = p.fileOrigin[f] === Origin.STDLIB;
    startup[f] = STARTUP_FILES.test(path) || (stdlib && path.endsWith("/site.py")) ? 1 : 0;
    madeUp[f] = path.startsWith("<") && !TYPED.test(path) ? 1 : 0;
  }
  const frameFile = new Int32Array(p.frames);
  const ownNative = new Uint8Array(p.frames);
  for (let i = 0; i < p.frames; i++) {
    const file = p.frameFunction[i]! < 0 ? -1 : p.functionFile[p.frameFunction[i]!]!;
    const module = p.frameModule[i]!;
    frameFile[i] = file;
    ownNative[i] = module >= 0 && isOwnNative(p.path(module), p.path(file)) ? 1 : 0;
  }

  /* of stacks: the file of a Python frame, that of the outermost one, and whether there is one at all */
  const file = new Int32Array(n).fill(-1);
  const outermost = new Int32Array(n).fill(-1);
  const python = new Uint8Array(n);
  let anyPython = false;
  let hasNative = false;
  for (let i = 1; i < n; i++) {
    const above = parent[i]!;
    const f = frame[i]!;
    if (kind[i] !== StackKind.NATIVE && f >= 0) file[i] = frameFile[f]!;
    outermost[i] = outermost[above]! >= 0 ? outermost[above]! : file[i]!;
    python[i] = python[above]! || kind[i] === StackKind.PYTHON ? 1 : 0;
    if (python[i]) anyPython = true;
    if (kind[i] === StackKind.NATIVE) hasNative = true;
  }
  const nativeOnly = hasNative && !anyPython;

  const origin = chooseYours(p, file, outermost, startup, madeUp);
  const leaf = new Int32Array(n);
  const yours = new Int32Array(n);
  const nowhere = () => p.site(SiteKind.DEEPER, -1, 0, -1, false);
  leaf[0] = yours[0] = NO_PYTHON_SITE;
  for (let i = 1; i < n; i++) {
    const above = parent[i]!;
    const k = kind[i]!;
    const folded = k === StackKind.DEEPER || k === StackKind.OTHER;
    if (k === StackKind.NO_PYTHON || k === StackKind.ROOT) {
      leaf[i] = yours[i] = NO_PYTHON_SITE;
      continue;
    }
    if (folded) {
      const site = frame[above]! >= 0 ? p.frameSite[frame[above]!]! : -1;
      const folding = k === StackKind.OTHER ? SiteKind.OTHER : SiteKind.DEEPER;
      leaf[i] =
        site < 0
          ? p.site(folding, -1, 0, -1, false)
          : p.site(folding, p.siteFunction[site]!, p.siteLine[site]!, p.siteModule[site]!, p.siteInlined[site]!);
    } else {
      leaf[i] = frame[i]! >= 0 ? p.frameSite[frame[i]!]! : leaf[above]!;
    }
    const own = file[i]!;
    const first = outermost[i]!;
    const isYours =
      own >= 0 &&
      p.fileOrigin[own] === origin &&
      !folded &&
      (origin === Origin.USER ? !madeUp[own] || own === first : first >= 0 && !startup[first]);
    if (isYours) yours[i] = leaf[i]!;
    else if (python[above] || (folded && nativeOnly && kind[above] === StackKind.NATIVE)) yours[i] = yours[above]!;
    else if (k === StackKind.NATIVE) {
      if (!nativeOnly) yours[i] = NO_PYTHON_SITE;
      else yours[i] = above === 0 || (frame[i]! >= 0 && ownNative[frame[i]!]) ? leaf[i]! : yours[above]!;
    } else if (folded) yours[i] = k === StackKind.OTHER ? leaf[i]! : nowhere();
    else yours[i] = first >= 0 && startup[first] ? STARTUP_SITE : leaf[i]!;
  }
  return { leaf, yours, nativeOnly, hasNative, origin };
}

/* Which files are the user's: those of the user, or, where the program runs none, installed packages if they take part in a
 * twentieth of what is allocated, or else the standard library. */
function chooseYours(
  p: Profile,
  file: Int32Array,
  outermost: Int32Array,
  startup: Uint8Array,
  madeUp: Uint8Array,
): Origin {
  const origins = new Uint8Array(p.stacks); /* a bit each, of the frames on a stack */
  for (let i = 1; i < p.stacks; i++) {
    origins[i] = origins[p.stackParent[i]!]!;
    const own = file[i]!;
    const first = outermost[i]!;
    if (own >= 0 && first >= 0 && !startup[first] && (!madeUp[own] || own === first))
      origins[i]! |= 1 << p.fileOrigin[own]!;
  }
  const allocated = p.payload.numbers("stat", "allocated");
  const sum = new Float64Array(8);
  let total = 0;
  for (let i = 0; i < p.stats; i++) {
    const bits = origins[p.statStack[i]!]!;
    if (!bits) continue;
    total += allocated[i]!;
    for (let origin = 0; origin < 5; origin++) if ((bits >> origin) & 1) sum[origin]! += allocated[i]!;
  }
  if (sum[Origin.USER]) return Origin.USER;
  if (sum[Origin.SITE]! > Math.floor(total / 20)) return Origin.SITE;
  return sum[Origin.STDLIB] ? Origin.STDLIB : Origin.USER;
}
