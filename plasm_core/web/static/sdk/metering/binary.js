/** Reading and writing the WebAssembly binary format: LEB128, names, vectors. */
import { concat, fromUtf8 } from "../bytes.js";
import { BadModuleError } from "../errors.js";
/** The error for bytes that are not well-formed WebAssembly. */
export function malformed(message) {
    return new BadModuleError("malformed", message);
}
/** Encode an unsigned LEB128. */
export function unsigned(value) {
    const out = [];
    for (; value >= 0x80; value = Math.floor(value / 0x80))
        out.push((value % 0x80) | 0x80);
    out.push(value);
    return out;
}
/** Encode a signed LEB128. */
export function signed(value) {
    const out = [];
    for (; value < -0x40 || value >= 0x40; value = Math.floor(value / 0x80))
        out.push((((value % 0x80) + 0x80) % 0x80) | 0x80);
    out.push(((value % 0x80) + 0x80) % 0x80);
    return out;
}
/**
 * Where the LEB128 integer of the bytes from `start` to `end` could end: bytes that only pad it left out.
 *
 * The last byte that stays then has the bit 0x80, which is to be cleared.
 */
export function minimalEnd(data, start, end, isSigned) {
    const last = data[end - 1];
    if (end - start < 2 || (last !== 0x00 && !(isSigned && last === 0x7f)))
        return end;
    const sign = isSigned ? 0x40 : 0x00; // the bit that must be as the bits of the byte behind it
    while (end - start > 1 && (data[end - 1] & 0x7f) === last && (data[end - 2] & sign) === (last & sign))
        end--;
    return end;
}
/** A buffer that grows. */
export class Output {
    buffer = new Uint8Array(256);
    length = 0;
    room(more) {
        if (this.length + more <= this.buffer.length)
            return;
        const grown = new Uint8Array(Math.max(2 * this.buffer.length, this.length + more));
        grown.set(this.buffer.subarray(0, this.length));
        this.buffer = grown;
    }
    push(...bytes) {
        this.append(bytes);
    }
    append(bytes) {
        this.room(bytes.length);
        this.buffer.set(bytes, this.length);
        this.length += bytes.length;
    }
    get bytes() {
        return this.buffer.subarray(0, this.length);
    }
    clear() {
        this.length = 0;
    }
}
/** Encode bytes with their length before them. */
export function sized(payload) {
    return concat(Uint8Array.from(unsigned(payload.length)), Uint8Array.from(payload));
}
/** Encode a vector of encoded items. */
export function vector(items) {
    const out = new Output();
    out.append(unsigned(items.length));
    for (const item of items)
        out.append(item);
    return out.bytes;
}
/** A cursor over bytes. Each read throws `BadModuleError` at the end of the data. */
export class Reader {
    data;
    position;
    end;
    constructor(data, position = 0, end = data.length) {
        this.data = data;
        this.position = position;
        this.end = end;
    }
    get done() {
        return this.position >= this.end;
    }
    byte() {
        if (this.position >= this.end)
            throw malformed("unexpected end");
        return this.data[this.position++];
    }
    bytes(count) {
        if (count > this.end - this.position)
            throw malformed("unexpected end");
        this.position += count;
        return this.data.subarray(this.position - count, this.position);
    }
    /** Read an unsigned LEB128 of at most 32 bits. */
    unsigned() {
        let value = 0, scale = 1;
        for (let count = 0; count < 5; count++, scale *= 0x80) {
            const byte = this.byte();
            value += (byte & 0x7f) * scale;
            if (byte < 0x80) {
                if (value > 0xffffffff)
                    throw malformed("an integer is too large");
                return value;
            }
        }
        throw malformed("an integer is too long");
    }
    /** Read a signed LEB128 of at most 64 bits. */
    signed() {
        let value = 0n;
        for (let shift = 0n; shift < 70n; shift += 7n) {
            const byte = this.byte();
            value |= BigInt(byte & 0x7f) << shift;
            if (byte < 0x80)
                return BigInt.asIntN(Number(shift) + 7, value);
        }
        throw malformed("an integer is too long");
    }
    /** Skip LEB128 integers. */
    skip(count) {
        for (; count > 0; count--)
            while (this.byte() >= 0x80)
                ;
    }
    name() {
        try {
            return fromUtf8(this.bytes(this.unsigned()));
        }
        catch (error) {
            if (error instanceof TypeError)
                throw malformed("a name is not UTF-8");
            throw error;
        }
    }
    /** Read a vector's length: at most the number of bytes left, since each item takes at least one. */
    count() {
        const count = this.unsigned();
        if (count > this.end - this.position)
            throw malformed("a vector is longer than its section");
        return count;
    }
}
