/** Bytes and their texts: UTF-8, hexadecimal, base64, base58btc. */

export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Encode text as UTF-8. */
export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

/** Decode UTF-8. Throws: TypeError on bytes that are not UTF-8. */
export function fromUtf8(bytes: Uint8Array): string {
  return strict.decode(bytes);
}

/** Join arrays of bytes. */
export function concat(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Whether two arrays hold the same bytes. */
export function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

/** Encode bytes in lower-case hexadecimal. */
export function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Decode hexadecimal. Throws: RangeError. */
export function unhex(text: string): Bytes {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw new RangeError("not hexadecimal");
  const bytes = new Uint8Array(text.length / 2);
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(2 * at, 2 * at + 2), 16);
  return bytes;
}

const STEP = 0x8000; // what a call takes as arguments on every engine

/** Encode bytes in padded base64, standard alphabet (RFC 4648, section 4). */
export function base64(bytes: Uint8Array): string {
  let characters = "";
  for (let at = 0; at < bytes.length; at += STEP) characters += String.fromCharCode(...bytes.subarray(at, at + STEP));
  return btoa(characters);
}

/**
 * Decode canonical, padded base64 in either alphabet (RFC 4648, sections 4 and 5). Throws: RangeError.
 *
 * Stray bits and characters, which lax decoders ignore, are refused: no byte of a signed envelope can be changed
 * without an effect.
 */
export function unbase64(text: string): Bytes {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/");
  if (standard.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(standard)) throw new RangeError("expected base64");
  const characters = atob(standard);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  if (base64(bytes) !== standard) throw new RangeError("expected canonical base64");
  return bytes;
}

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** Encode bytes in base58btc, without a multibase prefix. */
export function base58(bytes: Uint8Array): string {
  let number = bytes.length === 0 ? 0n : BigInt(`0x${hex(bytes)}`), digits = "";
  for (; number > 0n; number /= 58n) digits = ALPHABET.charAt(Number(number % 58n)) + digits;
  const zeros = bytes.findIndex((byte) => byte !== 0);
  return "1".repeat(zeros < 0 ? bytes.length : zeros) + digits;
}

/** Decode base58btc. The text should be short: the time is quadratic. Throws: RangeError. */
export function unbase58(text: string): Bytes {
  let number = 0n;
  for (const character of text) {
    const digit = ALPHABET.indexOf(character);
    if (digit < 0) throw new RangeError("expected base58");
    number = number * 58n + BigInt(digit);
  }
  const digits = number === 0n ? "" : number.toString(16), zeros = text.length - text.replace(/^1+/, "").length;
  return concat(new Uint8Array(zeros), unhex(digits.padStart(digits.length + (digits.length % 2), "0")));
}

/** Encode an unsigned integer in little-endian order. */
export function littleEndian(value: bigint | number, size: 4 | 8): Bytes {
  const bytes = new Uint8Array(size), view = new DataView(bytes.buffer);
  if (size === 4) view.setUint32(0, Number(value), true);
  else view.setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** Order bytes by their values, as all sorted lists of the protocol are. */
export function compareBytes(one: Uint8Array, other: Uint8Array): number {
  const common = Math.min(one.length, other.length);
  for (let at = 0; at < common; at++) {
    const difference = (one[at] ?? 0) - (other[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return one.length - other.length;
}
