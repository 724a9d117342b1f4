// Frames of the job protocol (docs/protocol.md, "Frames").

export const CHANNELS = ["module", "args", "env", "stdin", "stdout", "stderr"];
export const CHUNK_BYTES = 65_536;
const MAX_CONTROL_BYTES = 131_072;
const [CONTROL, DATA] = [0, 1];

function frame(type, ...parts) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(1 + parts.reduce((sum, part) => sum + part.length, 0));
  head[4] = type;
  return Buffer.concat([head, ...parts]);
}

export const control = (message) => frame(CONTROL, Buffer.from(JSON.stringify(message)));

export function data(channel, offset, bytes) {
  const head = Buffer.alloc(9);
  head[0] = CHANNELS.indexOf(channel) + 1;
  head.writeBigUInt64BE(BigInt(offset), 1);
  return frame(DATA, head, bytes);
}

// Yield messages, and `{type: "data", channel, offset, bytes}`, as they come from an iterable of chunks.
export async function* read(source) {
  let held = Buffer.alloc(0);
  for await (const chunk of source) {
    held = Buffer.concat([held, chunk.subarray()]);
    while (held.length >= 5) {
      const [length, type] = [held.readUInt32BE(0), held[4]];
      const most = { [CONTROL]: MAX_CONTROL_BYTES, [DATA]: CHUNK_BYTES + 9 }[type];
      if (most === undefined || length < 1 || length > most + 1) throw new Error(`a frame of type ${type}, ${length} bytes`);
      if (held.length < 4 + length) break;
      const body = held.subarray(5, 4 + length);
      held = held.subarray(4 + length);
      yield type === CONTROL ? JSON.parse(body.toString("utf8")) : dataOf(body);
    }
  }
  if (held.length > 0) throw new Error("the stream ended within a frame");
}

function dataOf(body) {
  const channel = CHANNELS[body[0] - 1];
  if (body.length < 10 || channel === undefined) throw new Error("a data frame that is none");
  return { type: "data", channel, offset: Number(body.readBigUInt64BE(1)), bytes: body.subarray(9) };
}
