/** What stands before and in the code of a block: its type, the handlers of a `try_table`; and the operand of loads and stores. */

import { BadModuleError } from "../errors.js";
import { malformed, type Reader } from "./binary.js";
import { checkType, EXNREF } from "./module.js";
import type { Rewriter } from "./rewrite.js";

const EMPTY = -0x40, CATCH_ALL = 2, CATCH_ALL_REF = 3, HAS_MEMORY_INDEX = 0x40;

/** Check the byte of a value type in code, and note whether it is one of exceptions. */
export function noteType(rewriter: Rewriter, type: number): number {
  if (type === EXNREF) rewriter.exceptions = true;
  return checkType(type);
}

/** Read a block's type. Return how many values it takes and leaves. */
export function readBlockType(rewriter: Rewriter, reader: Reader): { params: number; results: number } {
  const value = Number(reader.signed());
  if (value === EMPTY) return { params: 0, results: 0 };
  if (value < 0) {
    noteType(rewriter, value & 0x7f);
    return { params: 0, results: 1 };
  }
  const kind = rewriter.module.types[value];
  if (kind === undefined) throw malformed("a type index is out of range");
  return { params: kind.params.length, results: kind.results.length };
}

/** Read one handler. Return the depth of its label, outside the block. `integerFrom` is told where each integer begins. */
export function readHandler(reader: Reader, integerFrom?: (at: number) => void): number {
  const kind = reader.byte();
  if (kind > CATCH_ALL_REF) throw malformed("an exception handler is of an unknown kind");
  let at = reader.position;
  if (kind < CATCH_ALL) {
    reader.unsigned();
    integerFrom?.(at);
    at = reader.position;
  }
  const depth = reader.unsigned();
  integerFrom?.(at);
  return depth;
}

/** Check that two integers follow a load or store, alignment and offset: where memories have indices, there can be three. */
export function checkMemarg(reader: Reader): void {
  if (((reader.data[reader.position] ?? 0) & HAS_MEMORY_INDEX) !== 0) throw new BadModuleError("feature", "the module uses several memories");
}
