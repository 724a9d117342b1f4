/** Server-sent events from a response's body (HTML standard, "Interpreting an event stream"). */

export interface ServerEvent {
  readonly event: string;
  readonly data: string;
  readonly id: string;
}

const MAX_LINE_CHARACTERS = 16 << 20;

/** Read events until the stream ends. Throws: what the body throws; RangeError on a line without an end. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = "", event = "", data: string[] = [], id = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += decoder.decode(value, { stream: true });
      const lines = rest.split(/\r\n|\n|\r(?!$)/); // a carriage return at the end may have a line feed behind it
      rest = lines.pop() ?? "";
      if (rest.length > MAX_LINE_CHARACTERS) throw new RangeError("a line of the event stream is too long");
      for (const line of lines) {
        if (line === "") {
          if (data.length > 0) yield { event: event || "message", data: data.join("\n"), id };
          event = "";
          data = [];
          continue;
        }
        const colon = line.indexOf(":"), name = colon < 0 ? line : line.slice(0, colon);
        const field = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "event") event = field;
        else if (name === "data") data.push(field);
        else if (name === "id" && !field.includes("\0")) id = field;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
