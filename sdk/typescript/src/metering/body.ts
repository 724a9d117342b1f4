/** Rewrites one function's body: charges, checks, canonical NaNs. Dead code is left out. */

import { malformed, minimalEnd, Output, type Reader, signed, unsigned } from "./binary.js";
import { checkMemarg, noteType, readBlockType, readHandler } from "./control.js";
import { skipDeadCode } from "./dead-code.js";
import { functionType, type FunctionType } from "./module.js";
import * as op from "./opcodes.js";
import type { Rewriter } from "./rewrite.js";

const I32 = 0x7f, I64 = 0x7e, V128 = 0x7b, STACK_UNITS = 262_144, FRAME_UNITS = 4, BYTES_PER_UNIT = 128;
/** Uses of added locals that are no value types. */
const SAVED_STACK = -1, GAS = -2;
const MAX_DECLARED = 50_000, MOST_LOCALS = MAX_DECLARED - 16; // beyond, those that the rewriter adds could be too many
export const FAULT_STACK = 1, FAULT_GROWTH = 2, FAULT_NULL_CALL = 3, FAULT_CONVERSION = 4;

interface Label {
  readonly height: number;
  readonly params: number;
  readonly results: number;
  readonly opcode: number;
  /** Where the output of a loop's first run begins. */
  start: number;
  /** Whether an exception handler begins at its end, or at a loop's start. */
  catches: boolean;
}

/** Whether what ends a run is followed by code, or by what cannot be reached; `leaves` is dead behind a tail call. */
type RunEnd = "live" | "dead" | "leaves" | undefined;

export class Body {
  private readonly out = new Output();
  private readonly run = new Output();
  private readonly labels: Label[] = [];
  private readonly declared: number[][] = [];
  private readonly scratch = new Map<number, number[]>();
  private locals = 0;
  private copied = 0;
  private cost = 0;
  private height = 0;
  private peak = 0;
  private nesting = 0;
  /** Restores the stack's height where an exception handler begins; empty if there is none. */
  private restore: number[] = [];
  /** Where in `out` code is to be inserted: `restore`, or what lowers the stack's height before a tail call. */
  private readonly patches: { readonly at: number; readonly leaves: boolean }[] = [];
  private callBytes = 0;
  /** The local that has the gas counter's value; undefined if the function has no room for it. */
  private gasLocal: number[] | undefined;
  /** Code that loads it again, behind what changes the counter elsewhere; empty if there is none. */
  private reload: number[] = [];
  private readonly sizeBytes: number;

  constructor(
    private readonly rewriter: Rewriter,
    private readonly kind: FunctionType,
    private readonly reader: Reader,
  ) {
    this.sizeBytes = reader.end - reader.position;
  }

  rewrite(): Uint8Array {
    const { rewriter, kind } = this;
    this.readLocals();
    this.copied = this.reader.position;
    this.open(op.BLOCK, 0, kind.results.length);
    this.nesting = 0;
    this.keepGas();
    const first = this.instructions();
    const weight =
      FRAME_UNITS + this.locals + this.peak + this.nesting + Math.floor(this.sizeBytes / BYTES_PER_UNIT);
    const whole = new Output();
    whole.append(unsigned(this.declared.length));
    for (const group of this.declared) whole.append(group);
    const { loaded, stored } = this.charging();
    whole.push(...loaded, ...signed(1 + first), ...stored, ...this.checkGas());
    // stack += weight; if above the limit: fault
    whole.push(0x23, ...rewriter.stack, 0x41, ...signed(weight), 0x6a, 0x24, ...rewriter.stack);
    whole.push(0x23, ...rewriter.stack, 0x41, ...signed(STACK_UNITS), 0x4b, 0x04, 0x40, ...rewriter.fault(FAULT_STACK), 0x0b);
    if (this.restore.length > 0) whole.push(0x23, ...rewriter.stack, 0x21, ...this.local(SAVED_STACK, I32));
    whole.push(0x02, ...rewriter.resultBlock(kind.results));
    const left = [0x23, ...rewriter.stack, 0x41, ...signed(weight), 0x6b, 0x24, ...rewriter.stack];
    let done = 0;
    for (const { at, leaves } of this.patches.sort((one, other) => one.at - other.at)) {
      whole.append(this.out.bytes.subarray(done, at));
      whole.append(leaves ? left : this.restore);
      done = at;
    }
    whole.append(this.out.bytes.subarray(done));
    whole.push(...left, 0x0b);
    return whole.bytes;
  }

  private open(opcode: number, params: number, results: number): void {
    this.labels.push({ height: this.height - params, params, results, opcode, start: 0, catches: false });
    this.nesting = Math.max(this.nesting, this.labels.length - 1);
  }

  private readLocals(): void {
    this.locals = this.kind.params.length;
    for (let left = this.reader.count(); left > 0; left--) {
      const count = this.reader.unsigned(), type = noteType(this.rewriter, this.reader.byte());
      this.declared.push([...unsigned(count), type]);
      this.locals += count;
    }
    if (this.locals - this.kind.params.length > MAX_DECLARED) throw malformed("a function has too many locals");
  }

  /** The index of an additional local for a use: mostly a value of the type that it names. */
  private local(use: number, type = use): number[] {
    let index = this.scratch.get(use);
    if (index === undefined) {
      index = unsigned(this.locals + this.scratch.size);
      this.scratch.set(use, index);
      this.declared.push([1, type]);
    }
    return index;
  }

  /**
   * Keep the counter's value in a local as well as in the global.
   *
   * Each charge stores both, so that the global has the exact value wherever a run can end. Without the local, each
   * charge waits for the store of the one before to be loaded again.
   */
  private keepGas(): void {
    if (this.locals > MOST_LOCALS) return;
    this.gasLocal = this.local(GAS, I64);
    this.reload = [0x23, ...this.rewriter.gas, 0x21, ...this.gasLocal];
  }

  /** What precedes the cost in code that charges, where the global is newer and elsewhere, and what follows the cost. */
  private charging(): { loaded: number[]; kept: number[]; stored: number[] } {
    const { gas } = this.rewriter, local = this.gasLocal, loaded = [0x23, ...gas, 0x42];
    if (local === undefined) return { loaded, kept: loaded, stored: [0x7d, 0x24, ...gas] };
    return { loaded, kept: [0x20, ...local, 0x42], stored: [0x7d, 0x22, ...local, 0x24, ...gas] };
  }

  /** Code that traps if the gas is below zero. */
  private checkGas(): number[] {
    return this.gasLocal === undefined ? this.rewriter.checkGas : this.rewriter.trapIfNegative([0x20, ...this.gasLocal]);
  }

  private move(effect: number): void {
    this.height += effect;
    if (this.height > this.peak) this.peak = this.height;
  }

  /** Put a replacement in place of the original from `start` to the reader's position. */
  private replace(start: number, ...replacement: number[]): void {
    this.run.append(this.reader.data.subarray(this.copied, start));
    this.run.append(replacement);
    this.copied = this.reader.position;
  }

  /** Rewrite all instructions into `out`. Return the first run's cost, which the caller charges. */
  private instructions(): number {
    const { reader, reload } = this, { loaded, kept, stored } = this.charging(), check = this.checkGas();
    let first = -1, inLoop = false, called = false;
    while (this.labels.length > 0) {
      const start = reader.position, opcode = reader.byte(), follows = op.FOLLOWS[opcode] as number;
      const caught = opcode === op.END && this.labels.at(-1)?.catches === true;
      this.cost += op.COST[opcode] as number;
      let ended: RunEnd;
      if (follows === op.SPECIAL) ended = this.special(opcode, start);
      else {
        if (follows === op.INVALID) throw op.unknown(`0x${opcode.toString(16)}`);
        this.immediates(opcode, follows);
        this.move(op.EFFECT[opcode] as number);
        this.plain(opcode, start);
      }
      if (ended === undefined) continue;
      if (first < 0) first = this.cost;
      else {
        if (this.cost > 0) {
          this.out.append(called ? loaded : kept);
          this.out.append(signed(this.cost));
          this.out.append(stored);
        } else if (called) this.out.append(reload);
        if (inLoop) this.out.append(check);
      }
      this.out.append(this.run.bytes);
      this.out.append(reader.data.subarray(this.copied, reader.position));
      this.run.clear();
      this.copied = reader.position;
      this.cost = 0;
      inLoop = opcode === op.LOOP;
      called = opcode === op.CALL || opcode === op.CALL_INDIRECT;
      if (inLoop) (this.labels.at(-1) as Label).start = this.out.length;
      else if (caught) this.out.append(this.restore);
      else if (ended === "leaves") this.patches.push({ at: this.out.length - this.callBytes, leaves: true });
      if (ended !== "live") this.skipDead();
    }
    if (!reader.done) throw malformed("code follows a function's end");
    return first;
  }

  /** Pass over the immediates of an instruction that keeps its place. */
  private immediates(opcode: number, follows: number): void {
    if (follows >= op.BYTES) this.reader.bytes(follows & 0x7f);
    else if (follows === op.MEMARG) this.memarg();
    else if (follows === 1) this.integer(opcode === op.I32_CONST || opcode === op.I64_CONST);
  }

  private memarg(): void {
    checkMemarg(this.reader);
    this.integer();
    this.integer();
  }

  /** Pass over a LEB128 integer, and write it minimally. */
  private integer(isSigned = false): void {
    const at = this.reader.position;
    this.reader.skip(1);
    this.minimal(at, isSigned);
  }

  /** Write the LEB128 integer minimally that lies from `at` to the reader's position. */
  private minimal(at: number, isSigned = false): void {
    const { data, position } = this.reader, end = minimalEnd(data, at, position, isSigned);
    if (end === position) return;
    this.run.append(data.subarray(this.copied, end - 1));
    this.run.push((data[end - 1] as number) & 0x7f);
    this.copied = position;
  }

  /** What is put behind or before an instruction that keeps its place. */
  private plain(opcode: number, start: number): void {
    const float = op.F32_ARITHMETIC.has(opcode) ? 0x7d : op.F64_ARITHMETIC.has(opcode) ? 0x7c : undefined;
    if (float !== undefined) {
      const local = this.local(float), nan = float === 0x7d ? op.F32_NAN : op.F64_NAN;
      // local.tee x; nan; local.get x; local.get x; eq; select
      this.replace(start, opcode, 0x22, ...local, ...nan, 0x20, ...local, 0x20, ...local, float === 0x7d ? 0x5b : 0x61, 0x1b);
    }
    const truncated = op.TRUNCATIONS.get(opcode);
    if (truncated !== undefined) this.replace(start, 0x10, ...this.rewriter.nanCheck(truncated), opcode);
  }

  private special(opcode: number, start: number): RunEnd {
    const { reader, rewriter } = this;
    switch (opcode) {
      case op.BLOCK:
      case op.LOOP:
      case op.IF: {
        if (opcode === op.IF) this.move(-1);
        const { params, results } = this.blockType();
        this.open(opcode, params, results);
        return opcode === op.BLOCK ? undefined : "live";
      }
      case op.ELSE:
      case op.END:
        this.leave(opcode);
        return "live";
      case op.BR_IF:
        this.integer();
        this.move(-1);
        return "live";
      case op.BR:
        this.integer();
        return "dead";
      case op.BR_TABLE: {
        const at = reader.position, targets = reader.count();
        this.minimal(at);
        for (let left = targets; left >= 0; left--) this.integer();
        return "dead";
      }
      case op.RETURN:
        this.replace(start, 0x0c, ...unsigned(this.labels.length - 1));
        return "dead";
      case op.UNREACHABLE:
        return "dead";
      case op.CALL:
      case op.RETURN_CALL: {
        const index = reader.unsigned(), { params, results } = functionType(rewriter.module, index);
        this.minimal(start + 1);
        this.move(results.length - params.length);
        this.callBytes = 1 + unsigned(index).length;
        return this.called(opcode === op.RETURN_CALL);
      }
      case op.CALL_INDIRECT:
      case op.RETURN_CALL_INDIRECT: {
        const type = reader.unsigned(), table = reader.unsigned(), kind = rewriter.module.types[type];
        if (kind === undefined) throw malformed("a type index is out of range");
        this.move(kind.results.length - kind.params.length - 1);
        const call = [opcode, ...unsigned(type), ...unsigned(table)];
        this.callBytes = call.length;
        this.replace(start, 0x10, ...rewriter.nullCheck(table), ...call);
        return this.called(opcode === op.RETURN_CALL_INDIRECT);
      }
      case op.TRY_TABLE:
        this.tryTable();
        return undefined;
      case op.THROW: {
        const type = rewriter.module.tags[reader.unsigned()];
        if (type === undefined) throw malformed("a tag index is out of range");
        this.minimal(start + 1);
        this.move(-(rewriter.module.types[type]?.params.length ?? 0));
        return this.thrown();
      }
      case op.THROW_REF:
        this.move(-1);
        return this.thrown();
      case op.REF_NULL:
        noteType(rewriter, reader.byte());
        this.move(1);
        return undefined;
      case op.MEMORY_GROW:
        reader.skip(1);
        this.replace(start, 0x10, ...rewriter.grow, ...this.reload);
        return undefined;
      case op.SELECT_T: {
        const types = reader.bytes(reader.unsigned());
        types.forEach((type) => noteType(rewriter, type));
        this.replace(start, opcode, ...unsigned(types.length), ...types);
        this.move(-2);
        return undefined;
      }
      case op.PREFIX_FC:
        this.prefixFc(start);
        return undefined;
      default:
        this.prefixFd(start);
        return undefined;
    }
  }

  private blockType(): { params: number; results: number } {
    const at = this.reader.position, found = readBlockType(this.rewriter, this.reader);
    this.minimal(at, true);
    return found;
  }

  private called(tail: boolean): RunEnd {
    if (!tail) return "live";
    this.rewriter.tailCalls = true;
    return "leaves";
  }

  private thrown(): RunEnd {
    this.rewriter.exceptions = true;
    this.cost += op.THROW_GAS;
    return "dead";
  }

  /**
   * Take the head of a block with exception handlers, and have the stack's height restored where they begin: a throw
   * leaves functions without lowering it. Other ways lead there, too, on which it is what it was at the function's
   * start already.
   */
  private tryTable(): void {
    this.rewriter.exceptions = true;
    const { params, results } = this.blockType();
    const at = this.reader.position, handlers = this.reader.count();
    this.minimal(at);
    this.cost += handlers; // a throw compares its tag with those of all the handlers on its way
    for (let left = handlers; left > 0; left--) {
      const label = this.labels.at(-1 - readHandler(this.reader, (from) => this.minimal(from)));
      if (label === undefined) throw malformed("an exception handler is outside its function");
      if (!label.catches && label.opcode === op.LOOP) this.patches.push({ at: label.start, leaves: false });
      label.catches = true;
      if (this.restore.length === 0) {
        this.restore = [0x20, ...this.local(SAVED_STACK, I32), 0x24, ...this.rewriter.stack, ...this.reload];
      }
    }
    this.open(op.TRY_TABLE, params, results);
  }

  private leave(opcode: number): void {
    const label = this.labels.at(-1) as Label;
    if (opcode === op.ELSE) {
      this.height = label.height + label.params;
      return;
    }
    this.labels.pop();
    this.height = label.height + label.results;
    this.peak = Math.max(this.peak, this.height);
  }

  private prefixFc(start: number): void {
    const { reader } = this, number = reader.unsigned(), found = op.FC.get(number);
    if (found === undefined) throw op.unknown(`0xfc ${number}`);
    const [count, effect] = found, indices = Array.from({ length: count }, () => reader.unsigned());
    this.move(effect);
    if (number === op.TABLE_GROW) {
      this.replace(start, 0x10, ...this.rewriter.tableGrow(indices[0] as number), ...this.reload);
      return;
    }
    const before = op.OPERAND_CHARGED.has(number) ? [0x10, ...this.rewriter.charge, ...this.reload] : [];
    this.replace(start, ...before, 0xfc, ...unsigned(number), ...indices.flatMap(unsigned));
  }

  private prefixFd(start: number): void {
    const { reader } = this, number = reader.unsigned(), found = op.FD.get(number);
    if (found === undefined) throw op.unknown(`0xfd ${number}`);
    this.minimal(start + 1);
    const [memarg, following, effect] = found;
    if (memarg) this.memarg();
    reader.bytes(following);
    this.move(effect);
    const lanes = op.FLOAT_LANES.get(number);
    if (lanes === undefined) return;
    const [nan, equal] = lanes, local = this.local(V128);
    // local.tee x; v128.const nan; local.get x; local.get x; eq; bitselect
    this.replace(reader.position, 0x22, ...local, ...nan, 0x20, ...local, 0x20, ...local, 0xfd, equal, 0xfd, 0x52);
  }

  /** Leave out what cannot be reached, up to the `else` or `end` that ends it, and take that. */
  private skipDead(): void {
    const opcode = skipDeadCode(this.rewriter, this.reader), caught = opcode === op.END && this.labels.at(-1)?.catches === true;
    this.leave(opcode);
    this.out.push(opcode);
    if (caught) this.out.append(this.restore);
    this.copied = this.reader.position;
  }
}
