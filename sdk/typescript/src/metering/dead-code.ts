/**
 * Dead code, which the rewriter leaves out: the instructions after a jump, up to the end of the block.
 *
 * An instruction that jobs may not use is refused here, too: the engine takes more of them than are known here, and
 * with one whose immediates are not known, what follows would be misread, and a guest could hide code in it that no
 * validation saw.
 */

import type { Reader } from "./binary.js";
import { checkMemarg, readBlockType, readHandler } from "./control.js";
import { checkType } from "./module.js";
import * as op from "./opcodes.js";
import type { Rewriter } from "./rewrite.js";

/** Skip dead code, and take the `else` or `end` that ends it. Return which. Throws: `BadModuleError`. */
export function skipDeadCode(rewriter: Rewriter, reader: Reader): number {
  for (let depth = 0; ; ) {
    const opcode = reader.byte(), follows = op.FOLLOWS[opcode] as number;
    if (depth === 0 && (opcode === op.ELSE || opcode === op.END)) return opcode;
    if (opcode === op.BLOCK || opcode === op.LOOP || opcode === op.IF || opcode === op.TRY_TABLE) {
      readBlockType(rewriter, reader);
      depth++;
      if (opcode !== op.TRY_TABLE) continue;
      rewriter.exceptions = true;
      for (let left = reader.count(); left > 0; left--) readHandler(reader);
    } else if (opcode === op.END) depth--;
    else if (follows === op.INVALID) throw op.unknown(`0x${opcode.toString(16)}`);
    else if (follows === op.SPECIAL) skipSpecial(rewriter, reader, opcode);
    else if (follows >= op.BYTES) reader.bytes(follows & 0x7f);
    else {
      if (follows === op.MEMARG) checkMemarg(reader);
      reader.skip(follows);
    }
  }
}

function skipSpecial(rewriter: Rewriter, reader: Reader, opcode: number): void {
  if ([op.BR, op.BR_IF, op.CALL, op.MEMORY_GROW].includes(opcode)) reader.skip(1);
  else if (opcode === op.CALL_INDIRECT) reader.skip(2);
  else if (opcode === op.THROW || opcode === op.THROW_REF) {
    rewriter.exceptions = true;
    reader.skip(opcode === op.THROW ? 1 : 0);
  } else if (opcode === op.RETURN_CALL || opcode === op.RETURN_CALL_INDIRECT) {
    rewriter.tailCalls = true;
    reader.skip(opcode === op.RETURN_CALL ? 1 : 2);
  } else if (opcode === op.REF_NULL) checkType(reader.byte());
  else if (opcode === op.BR_TABLE) reader.skip(reader.count() + 1);
  else if (opcode === op.SELECT_T) reader.bytes(reader.unsigned()).forEach(checkType);
  else if (opcode === op.PREFIX_FC) {
    const number = reader.unsigned(), found = op.FC.get(number);
    if (found === undefined) throw op.unknown(`0xfc ${number}`);
    reader.skip(found[0]);
  } else if (opcode === op.PREFIX_FD) {
    const number = reader.unsigned(), found = op.FD.get(number);
    if (found === undefined) throw op.unknown(`0xfd ${number}`);
    const [memarg, following] = found;
    if (memarg) checkMemarg(reader);
    reader.skip(memarg ? 2 : 0);
    reader.bytes(following);
  }
}
