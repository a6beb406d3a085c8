/*
 * Keys of call-tree nodes and tables, and what people call them. Keys are sites of the profile; of a comparison, sites of the
 * older one that no longer exist come behind them.
 */
import { clean } from "../text.ts";
import { Origin, type Profile, SiteKind } from "./model.ts";

export class Names {
  readonly count: number;
  /** The key of each site of the older profile. */
  readonly oldKey: Int32Array | null = null;
  private readonly gone: number[] = [];

  constructor(
    readonly profile: Profile,
    readonly old: Profile | null,
  ) {
    let count = profile.sites;
    if (old) {
      this.oldKey = matchSites(profile, old);
      for (let site = 0; site < old.sites; site++)
        if (this.oldKey[site]! < 0) {
          this.oldKey[site] = count++;
          this.gone.push(site);
        }
    }
    this.count = count;
  }

  private at(key: number): [Profile, number] {
    return key < this.profile.sites ? [this.profile, key] : [this.old!, this.gone[key - this.profile.sites]!];
  }

  /** Whether it is only in the older profile. */
  isGone(key: number): boolean {
    return key >= this.profile.sites;
  }

  /** "smooth" */
  name(key: number): string {
    const [p, site] = this.at(key);
    return clean(p.siteName(site));
  }

  /** "stations.py:37"; "" where there is none. */
  place(key: number): string {
    const [p, site] = this.at(key);
    return clean(p.sitePlace(site));
  }

  /** "stations.py:37 (smooth)" */
  label(key: number): string {
    if (key < 0) return "all";
    const place = this.place(key);
    const name = this.name(key);
    return place === "" ? name : `${place} (${name})`;
  }

  source(key: number): string {
    const [p, site] = this.at(key);
    return clean(p.siteSource(site));
  }

  line(key: number): number {
    const [p, site] = this.at(key);
    return p.siteLine[site]!;
  }

  /** Of the newer profile; -1: none. */
  file(key: number): number {
    if (key < 0 || this.isGone(key)) return -1;
    return this.profile.siteFile(key);
  }

  path(key: number): string {
    const [p, site] = this.at(key);
    const file = p.siteFile(site);
    return file < 0 ? "" : p.path(file);
  }

  module(key: number): string {
    const [p, site] = this.at(key);
    const module = p.siteModule[site]!;
    return clean(module >= 0 ? p.label(module) : p.moduleName(p.siteFile(site)));
  }

  isNative(key: number): boolean {
    const [p, site] = this.at(key);
    return p.siteModule[site]! >= 0;
  }

  isLine(key: number): boolean {
    const [p, site] = this.at(key);
    return p.siteKind[site] === SiteKind.LINE;
  }

  /** The user's own code, as the reports have it. */
  isYours(key: number): boolean {
    const [p, site] = this.at(key);
    const file = p.siteFile(site);
    if (file < 0) return false;
    return this.isNative(key) ? p.nativeOnly && p.fileOrigin[file] !== Origin.NATIVE : p.fileOrigin[file] === p.yours;
  }

  origin(key: number): Origin | -1 {
    const [p, site] = this.at(key);
    const file = p.siteFile(site);
    return file < 0 ? -1 : (p.fileOrigin[file] as Origin);
  }

  private groupsOf: Int32Array | null = null;
  private readonly functionKeys: number[] = [];

  /** By key: a number for its function, the same for all lines of it. */
  functionGroups(): Int32Array {
    if (this.groupsOf) return this.groupsOf;
    const groups = new Int32Array(this.count);
    const known = new Map<string, number>();
    for (let key = 0; key < this.count; key++) {
      const [p, site] = this.at(key);
      const file = p.siteFile(site);
      const id = `${p.siteKind[site]}\0${file < 0 ? "" : p.label(file)}\0${p.siteName(site)}\0${p.siteModule[site]}`;
      let group = known.get(id);
      if (group === undefined) {
        group = known.size;
        known.set(id, group);
        this.functionKeys.push(key);
      }
      groups[key] = group;
    }
    this.groupsOf = groups;
    return groups;
  }

  /** Some key of a function's. */
  functionKey(group: number): number {
    this.functionGroups();
    return this.functionKeys[group] ?? -1;
  }

  get functionCount(): number {
    this.functionGroups();
    return this.functionKeys.length;
  }

  private readonly searched = new Map<string, Uint8Array | null>();

  /** Keys whose place or function match; null: the expression is none. */
  search(expression: string): Uint8Array | null {
    if (expression === "") return null;
    let found = this.searched.get(expression);
    if (found !== undefined) return found;
    let pattern: RegExp;
    try {
      /* as in many editors: capitals only matter where there are some */
      pattern = new RegExp(expression, expression === expression.toLowerCase() ? "iu" : "u");
    } catch {
      this.searched.set(expression, null);
      return null;
    }
    found = new Uint8Array(this.count);
    const texts = this.searchTexts();
    for (let key = 0; key < this.count; key++) found[key] = pattern.test(texts[key]!) ? 1 : 0;
    if (this.searched.size > 50) this.searched.clear();
    this.searched.set(expression, found);
    return found;
  }

  private texts: string[] | null = null;

  private searchTexts(): string[] {
    if (!this.texts) {
      this.texts = new Array(this.count);
      for (let key = 0; key < this.count; key++) this.texts[key] = this.label(key);
    }
    return this.texts;
  }
}

/* Sites of the older profile that are sites of the newer one: by the frames that the report matched across edits, else by
 * the words for them. */
function matchSites(profile: Profile, old: Profile): Int32Array {
  const keys = new Int32Array(old.sites).fill(-1);
  keys[0] = 0;
  keys[1] = 1;
  const match = profile.meta.match;
  if (match)
    for (let frame = 0; frame < old.frames; frame++) {
      const partner = match[frame] ?? -1;
      const site = old.frameSite[frame]!;
      if (partner >= 0 && partner < profile.frames && keys[site]! < 0) keys[site] = profile.frameSite[partner]!;
    }
  const words = (p: Profile, site: number, as: number) => {
    const file = p.siteFile(as);
    const line = match ? "" : p.siteLine[as];
    const module = p.siteModule[as]! >= 0 ? p.label(p.siteModule[as]!) : "";
    return `${p.siteKind[site]} ${file < 0 ? "" : p.label(file)}:${line} ${p.siteName(as)} ${module}`;
  };
  if (!match) {
    const known = new Map<string, number>();
    for (let site = 2; site < profile.sites; site++) known.set(words(profile, site, site), site);
    for (let site = 2; site < old.sites; site++) keys[site] = known.get(words(old, site, site)) ?? -1;
    return keys;
  }
  /* what was folded below a line is matched as that line is */
  const folded = new Map<string, number>();
  const lineAt = (p: Profile) => {
    const at = new Map<string, number>();
    for (let site = 2; site < p.sites; site++)
      if (p.siteKind[site] === SiteKind.LINE)
        at.set(`${p.siteFunction[site]} ${p.siteLine[site]} ${p.siteModule[site]} ${p.siteInlined[site]}`, site);
    return at;
  };
  const lineOf = (p: Profile, at: Map<string, number>, site: number) =>
    at.get(`${p.siteFunction[site]} ${p.siteLine[site]} ${p.siteModule[site]} ${p.siteInlined[site]}`) ?? -1;
  const newLines = lineAt(profile);
  const oldLines = lineAt(old);
  for (let site = 2; site < profile.sites; site++)
    if (profile.siteKind[site] !== SiteKind.LINE)
      folded.set(`${profile.siteKind[site]} ${lineOf(profile, newLines, site)}`, site);
  for (let site = 2; site < old.sites; site++) {
    if (old.siteKind[site] === SiteKind.LINE) continue;
    const line = lineOf(old, oldLines, site);
    const partner = line < 0 ? -1 : keys[line]!;
    if (line >= 0 && partner < 0) continue;
    keys[site] = folded.get(`${old.siteKind[site]} ${partner}`) ?? -1;
  }
  return keys;
}
