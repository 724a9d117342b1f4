/** The profile that a module needs, as far as its sections tell. */

import { utf8 } from "./bytes.js";

const CUSTOM = 0, TAG = 13, HEAD_BYTES = 8, MAX_SECTIONS = 1_000, MAX_FEATURES_BYTES = 4_096;
/** The custom section in which LLVM lists a module's features, and the entry for tail calls. */
const FEATURES = utf8("\u000ftarget_features"), TAIL_CALL = utf8("+\ttail-call");

/**
 * The profile that a module needs by its sections.
 *
 * A section of tags means exceptions. Tail calls are told by LLVM's list of features only, which `strip` removes: a
 * node refuses the job then, with the reason `profile`.
 */
export function neededProfile(module: Uint8Array): "plasm.det/v1" | "plasm.det/v2" {
  let position = HEAD_BYTES;
  for (let count = 0; count < MAX_SECTIONS && position < module.length; count++) {
    const section = module[position++];
    let length = 0, scale = 1;
    for (;;) {
      const byte = module[position++];
      if (byte === undefined || scale > 2 ** 28) return "plasm.det/v1";
      length += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 0x80;
    }
    if (section === TAG) return "plasm.det/v2";
    if (section === CUSTOM) {
      const content = module.subarray(position, position + Math.min(length, MAX_FEATURES_BYTES));
      if (begins(content, FEATURES) && holds(content, TAIL_CALL)) return "plasm.det/v2";
    }
    position += length;
  }
  return "plasm.det/v1";
}

function begins(bytes: Uint8Array, wanted: Uint8Array): boolean {
  return wanted.every((byte, index) => bytes[index] === byte);
}

function holds(bytes: Uint8Array, wanted: Uint8Array): boolean {
  return bytes.some((_, start) => begins(bytes.subarray(start), wanted));
}
