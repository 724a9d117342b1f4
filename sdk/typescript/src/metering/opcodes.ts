/** WebAssembly's instructions: what follows each opcode, and what it does to the operand stack (specification 2.0, 5.4). */

import { BadModuleError } from "../errors.js";

export const UNREACHABLE = 0x00, BLOCK = 0x02, LOOP = 0x03, IF = 0x04, ELSE = 0x05, END = 0x0b, BR = 0x0c, BR_IF = 0x0d;
export const BR_TABLE = 0x0e, RETURN = 0x0f, CALL = 0x10, CALL_INDIRECT = 0x11, SELECT_T = 0x1c, MEMORY_GROW = 0x40;
export const THROW = 0x08, THROW_REF = 0x0a, RETURN_CALL = 0x12, RETURN_CALL_INDIRECT = 0x13, TRY_TABLE = 0x1f;
export const I32_CONST = 0x41, I64_CONST = 0x42, REF_NULL = 0xd0, PREFIX_FC = 0xfc, PREFIX_FD = 0xfd, TABLE_GROW = 15;
/** The additional cost of `throw` and `throw_ref`. */
export const THROW_GAS = 1_000;

/** What follows an opcode: none or one LEB128 integer, or the two of a load or store, or bytes, or what has a case of its own. */
export const SPECIAL = 255, INVALID = 254, BYTES = 128, MEMARG = 2;

/** The error for an instruction of a feature that jobs do not have. */
export function unknown(opcode: string): BadModuleError {
  return new BadModuleError("feature", `the module uses an instruction that jobs may not use (${opcode})`);
}

const FREE = new Set([UNREACHABLE, 0x01, BLOCK, LOOP, ELSE, END, RETURN, 0x1a]);
export const COST = Uint8Array.from({ length: 256 }, (_, opcode) => (FREE.has(opcode) ? 0 : 1));
export const FOLLOWS = new Uint8Array(256).fill(INVALID);
export const EFFECT = new Int8Array(256);

function set(first: number, last: number, follows: number, effect: number): void {
  FOLLOWS.fill(follows, first, last + 1);
  EFFECT.fill(effect, first, last + 1);
}

for (const opcode of [
  UNREACHABLE, BLOCK, LOOP, IF, ELSE, END, BR, BR_IF, BR_TABLE, RETURN, CALL, CALL_INDIRECT, SELECT_T, MEMORY_GROW,
  THROW, THROW_REF, TRY_TABLE, RETURN_CALL, RETURN_CALL_INDIRECT, REF_NULL, PREFIX_FC, PREFIX_FD,
]) FOLLOWS[opcode] = SPECIAL;
set(0x01, 0x01, 0, 0); // nop
set(0x1a, 0x1a, 0, -1); // drop
set(0x1b, 0x1b, 0, -2); // select
set(0x20, 0x20, 1, 1); // local.get
set(0x21, 0x21, 1, -1); // local.set
set(0x22, 0x22, 1, 0); // local.tee
set(0x23, 0x23, 1, 1); // global.get
set(0x24, 0x24, 1, -1); // global.set
set(0x25, 0x25, 1, 0); // table.get
set(0x26, 0x26, 1, -2); // table.set
set(0x28, 0x35, MEMARG, 0); // loads
set(0x36, 0x3e, MEMARG, -2); // stores
set(0x3f, 0x3f, 1, 1); // memory.size
set(0x41, 0x42, 1, 1); // i32.const, i64.const
set(0x43, 0x43, BYTES | 4, 1); // f32.const
set(0x44, 0x44, BYTES | 8, 1); // f64.const
set(0x45, 0x45, 0, 0); // i32.eqz
set(0x46, 0x4f, 0, -1); // i32 comparisons
set(0x50, 0x50, 0, 0); // i64.eqz
set(0x51, 0x66, 0, -1); // i64, f32, f64 comparisons
set(0x67, 0x69, 0, 0); // i32 clz, ctz, popcnt
set(0x6a, 0x78, 0, -1);
set(0x79, 0x7b, 0, 0); // i64 clz, ctz, popcnt
set(0x7c, 0x8a, 0, -1);
set(0x8b, 0x91, 0, 0); // f32 unary
set(0x92, 0x98, 0, -1);
set(0x99, 0x9f, 0, 0); // f64 unary
set(0xa0, 0xa6, 0, -1);
set(0xa7, 0xc4, 0, 0); // conversions, sign extension
set(0xd1, 0xd1, 0, 0); // ref.is_null
set(0xd2, 0xd2, 1, 1); // ref.func

const range = (first: number, end: number): number[] => Array.from({ length: end - first }, (_, index) => first + index);

/** Instructions that may make a NaN whose bits WebAssembly leaves open: ceil … max, and demote or promote. */
export const F32_ARITHMETIC = new Set([...range(0x8d, 0x98), 0xb6]);
export const F64_ARITHMETIC = new Set([...range(0x9b, 0xa6), 0xbb]);
export const F32_NAN = [0x43, 0, 0, 0xc0, 0x7f], F64_NAN = [0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f];
/** Conversions to integers that trap → the type that they convert. */
export const TRUNCATIONS = new Map<number, number>([
  ...[0xa8, 0xa9, 0xae, 0xaf].map((opcode) => [opcode, 0x7d] as const),
  ...[0xaa, 0xab, 0xb0, 0xb1].map((opcode) => [opcode, 0x7c] as const),
]);

/** Behind 0xFC: opcode → [index immediates, effect]. */
export const FC = new Map<number, readonly [number, number]>([
  ...range(0, 8).map((opcode) => [opcode, [0, 0]] as const), // saturating conversions
  [8, [2, -3]], // memory.init
  [9, [1, 0]], // data.drop
  [10, [2, -3]], // memory.copy
  [11, [1, -3]], // memory.fill
  [12, [2, -3]], // table.init
  [13, [1, 0]], // elem.drop
  [14, [2, -3]], // table.copy
  [TABLE_GROW, [1, -1]],
  [16, [1, 1]], // table.size
  [17, [1, -3]], // table.fill
]);
/** Those of them whose gas includes their topmost operand; table.grow, too, by a function of its own. */
export const OPERAND_CHARGED = new Set([8, 10, 11, 12, 14, 17]);

/** Behind 0xFD (SIMD): opcode → [has a memarg, bytes behind it, effect]. */
export const FD = new Map<number, readonly [boolean, number, number]>();

function simd(opcodes: string, effect: number, memarg = false, following = 0): void {
  for (const part of opcodes.split(" ")) {
    const [first = 0, last = first] = part.split("-").map(Number);
    for (const opcode of range(first, last + 1)) FD.set(opcode, [memarg, following, effect]);
  }
}

simd("0-10 92-93", 0, true); // loads
simd("11", -2, true); // v128.store
simd("12", 1, false, 16); // v128.const
simd("13", -1, false, 16); // i8x16.shuffle
simd("21-22 24-25 27 29 31 33", 0, false, 1); // extract_lane
simd("23 26 28 30 32 34", -1, false, 1); // replace_lane
simd("84-87", -1, true, 1); // load_lane
simd("88-91", -2, true, 1); // store_lane
simd("82", -2); // bitselect
// splats; not, any_true; demote, promote, i8x16 abs … bitmask; roundings; abs, neg, extends and conversions
simd("15-20 77 83 94-100 103-106 116-117 122 124-129 131-132 135-138 148 160-161 163-164 167-170", 0);
simd("192-193 195-196 199-202 224-225 227 236-237 239 248-255", 0);
// swizzle; comparisons; bitwise; narrow; shifts, arithmetic, minima and maxima, products
simd("14 35-76 78-81 101-102 107-115 118-121 123 130 133-134 139-147 149-153 155-159 171-174 177 181-186 188-191", -1);
simd("203-206 209 213-223 228-235 240-247", -1);

const F32X4 = [0xfd, 0x0c, ...[0, 0, 0, 0].flatMap(() => [0, 0, 0xc0, 0x7f])];
const F64X2 = [0xfd, 0x0c, ...[0, 0].flatMap(() => [0, 0, 0, 0, 0, 0, 0xf8, 0x7f])];
/** Vector instructions that may make such a NaN: a constant of NaNs, the opcode of `eq`. */
export const FLOAT_LANES = new Map<number, readonly [readonly number[], number]>([
  ...[...range(103, 107), 227, ...range(228, 234), 94].map((opcode) => [opcode, [F32X4, 0x41]] as const),
  ...[116, 117, 122, 148, 239, ...range(240, 246), 95].map((opcode) => [opcode, [F64X2, 0x47]] as const),
]);
