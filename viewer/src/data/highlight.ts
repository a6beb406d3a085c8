/*
 * Source text as coloured words. highlight.js finds them; its tree is read, never its HTML, so that no source text can
 * become markup.
 */
import hljs from "highlight.js/lib/core";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";

export interface Word {
  text: string;
  kind: string /* a class of the style sheet, or "" */;
}

const LANGUAGES: [RegExp, string, Parameters<typeof hljs.registerLanguage>[1]][] = [
  [/\.(py|pyi|pyw)$|^</, "python", python],
  [/\.(c|h)$/, "c", c],
  [/\.(cc|cpp|cxx|hpp|hh|hxx|ipp)$/, "cpp", cpp],
  [/\.rs$/, "rust", rust],
];

const MOST_CHARACTERS = 400_000; /* beyond this, text is plain: colouring takes too long */

interface Node {
  scope?: string;
  children: (Node | string)[];
}

/** The words of each line. */
export function wordsOf(path: string, lines: string[]): Word[][] {
  const plain = () => lines.map((text) => [{ text, kind: "" }]);
  const language = LANGUAGES.find(([pattern]) => pattern.test(path));
  const text = lines.join("\n");
  if (!language || text.length > MOST_CHARACTERS) return plain();
  const [, name, grammar] = language;
  if (!hljs.getLanguage(name)) hljs.registerLanguage(name, grammar);
  const result = hljs.highlight(text, { language: name, ignoreIllegals: true });
  const root = (result._emitter as unknown as { rootNode?: Node }).rootNode;
  if (!root) return plain();
  const out: Word[][] = [[]];
  const todo: { node: Node | string; kind: string }[] = [{ node: root, kind: "" }];
  while (todo.length > 0) {
    const { node, kind } = todo.pop()!;
    if (typeof node !== "string") {
      const scope = node.scope ? `hljs-${node.scope.split(".")[0]}` : kind;
      for (let i = node.children.length - 1; i >= 0; i--) todo.push({ node: node.children[i]!, kind: scope });
      continue;
    }
    const parts = node.split("\n");
    parts.forEach((part, i) => {
      if (i > 0) out.push([]);
      if (part !== "") out[out.length - 1]!.push({ text: part, kind });
    });
  }
  return out.length === lines.length || lines.length === 0 ? out : plain();
}

/** Where in a text (UTF-16) so many UTF-8 bytes end. */
export function indexOfBytes(text: string, bytes: number): number {
  let at = 0;
  for (let i = 0; i < text.length; ) {
    if (at >= bytes) return i;
    const code = text.codePointAt(i)!;
    at += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    i += code > 0xffff ? 2 : 1;
  }
  return text.length;
}
