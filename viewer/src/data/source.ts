/*
 * Where a page's data comes from. Views know only this interface: the data can be in the page itself, come from `heapline
 * view` on this machine, or, later, from a recording that goes on.
 */
import { Payload, PayloadError } from "./decode.ts";

export interface DataSource {
  /** The profile and, of a comparison, the older one. */
  load(): Promise<{ profile: Payload; old: Payload | null }>;
}

async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  if (typeof DecompressionStream === "undefined")
    throw new PayloadError(
      "This browser is too old to unpack the report: it needs DecompressionStream (Chrome 80, Firefox 113, Safari 16.4).",
    );
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new PayloadError("The report's data is damaged: it cannot be unpacked. Was the file cut off or edited?");
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const quick = (Uint8Array as unknown as { fromBase64?: (text: string) => Uint8Array<ArrayBuffer> }).fromBase64;
  try {
    if (quick) return quick.call(Uint8Array, text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  } catch {
    throw new PayloadError("The report's data is damaged: it is not base64. Was the file edited?");
  }
}

/** In elements of the page that no browser runs. */
export class EmbeddedSource implements DataSource {
  constructor(private readonly page: Document) {}

  async load(): Promise<{ profile: Payload; old: Payload | null }> {
    const profile = await this.read("heapline-data");
    if (!profile) throw new PayloadError("This report has no data in it: the file was cut off or edited.");
    return { profile, old: await this.read("heapline-old") };
  }

  private async read(id: string): Promise<Payload | null> {
    const element = this.page.getElementById(id);
    const text = element?.textContent?.trim();
    if (!element || !text) return null;
    element.textContent = ""; /* megabytes that nobody reads again */
    return new Payload(await gunzip(fromBase64(text)));
  }
}

/** From a server, which sends the same bytes as stand in a page, gzip or not. */
export class HttpSource implements DataSource {
  constructor(private readonly address: string) {}

  async load(): Promise<{ profile: Payload; old: Payload | null }> {
    const answer = await fetch(this.address, { cache: "no-store", credentials: "same-origin" });
    if (!answer.ok) throw new PayloadError(`heapline does not answer (${answer.status}). Is it still running?`);
    const bytes = new Uint8Array(await answer.arrayBuffer());
    return { profile: new Payload(bytes[0] === 0x1f && bytes[1] === 0x8b ? await gunzip(bytes) : bytes), old: null };
  }
}
