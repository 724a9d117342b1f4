/** Reading and writing the WebAssembly binary format: LEB128, names, vectors. */

import { concat, fromUtf8, type Bytes } from "../bytes.js";
import { BadModuleError } from "../errors.js";

/** The error for bytes that are not well-formed WebAssembly. */
export function malformed(message: string): BadModuleError {
  return new BadModuleError("malformed", message);
}

/** Encode an unsigned LEB128. */
export function unsigned(value: number): number[] {
  const out: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) out.push((value % 0x80) | 0x80);
  out.push(value);
  return out;
}

/** Encode a signed LEB128. */
export function signed(value: number): number[] {
  const out: number[] = [];
  for (; value < -0x40 || value >= 0x40; value = Math.floor(value / 0x80)) out.push((((value % 0x80) + 0x80) % 0x80) | 0x80);
  out.push(((value % 0x80) + 0x80) % 0x80);
  return out;
}

/**
 * Where the LEB128 integer of the bytes from `start` to `end` could end: bytes that only pad it left out.
 *
 * The last byte that stays then has the bit 0x80, which is to be cleared.
 */
export function minimalEnd(data: Uint8Array, start: number, end: number, isSigned: boolean): number {
  const last = data[end - 1];
  if (end - start < 2 || (last !== 0x00 && !(isSigned && last === 0x7f))) return end;
  const sign = isSigned ? 0x40 : 0x00; // the bit that must be as the bits of the byte behind it
  while (end - start > 1 && ((data[end - 1] as number) & 0x7f) === last && ((data[end - 2] as number) & sign) === (last & sign)) end--;
  return end;
}

/** A buffer that grows. */
export class Output {
  private buffer = new Uint8Array(256);
  length = 0;

  private room(more: number): void {
    if (this.length + more <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(2 * this.buffer.length, this.length + more));
    grown.set(this.buffer.subarray(0, this.length));
    this.buffer = grown;
  }

  push(...bytes: number[]): void {
    this.append(bytes);
  }

  append(bytes: ArrayLike<number>): void {
    this.room(bytes.length);
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  get bytes(): Bytes {
    return this.buffer.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }
}

/** Encode bytes with their length before them. */
export function sized(payload: ArrayLike<number>): Bytes {
  return concat(Uint8Array.from(unsigned(payload.length)), Uint8Array.from(payload));
}

/** Encode a vector of encoded items. */
export function vector(items: readonly Uint8Array[]): Bytes {
  const out = new Output();
  out.append(unsigned(items.length));
  for (const item of items) out.append(item);
  return out.bytes;
}

/** A cursor over bytes. Each read throws `BadModuleError` at the end of the data. */
export class Reader {
  constructor(
    readonly data: Uint8Array,
    public position = 0,
    readonly end = data.length,
  ) {}

  get done(): boolean {
    return this.position >= this.end;
  }

  byte(): number {
    if (this.position >= this.end) throw malformed("unexpected end");
    return this.data[this.position++] as number;
  }

  bytes(count: number): Uint8Array {
    if (count > this.end - this.position) throw malformed("unexpected end");
    this.position += count;
    return this.data.subarray(this.position - count, this.position);
  }

  /** Read an unsigned LEB128 of at most 32 bits. */
  unsigned(): number {
    let value = 0, scale = 1;
    for (let count = 0; count < 5; count++, scale *= 0x80) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > 0xffffffff) throw malformed("an integer is too large");
        return value;
      }
    }
    throw malformed("an integer is too long");
  }

  /** Read a signed LEB128 of at most 64 bits. */
  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
    throw malformed("an integer is too long");
  }

  /** Skip LEB128 integers. */
  skip(count: number): void {
    for (; count > 0; count--) while (this.byte() >= 0x80);
  }

  name(): string {
    try {
      return fromUtf8(this.bytes(this.unsigned()));
    } catch (error) {
      if (error instanceof TypeError) throw malformed("a name is not UTF-8");
      throw error;
    }
  }

  /** Read a vector's length: at most the number of bytes left, since each item takes at least one. */
  count(): number {
    const count = this.unsigned();
    if (count > this.end - this.position) throw malformed("a vector is longer than its section");
    return count;
  }
}
