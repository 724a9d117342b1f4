/** SHA-256 digests, and the encodings under them (docs/determinism.md, "Three identities"). */
import { concat, hex, littleEndian, utf8 } from "./bytes.js";
import { PlatformError } from "./errors.js";
import { sha256 as digestOf } from "./wasi.mjs";
/** The SHA-256 digest of some bytes, in lower-case hexadecimal. For what is short: see `digestAsync`. */
export function sha256(data) {
    return hex(digestOf(data));
}
/** The SHA-256 digest of some bytes, 32 of them. */
export function sha256Bytes(data) {
    return digestOf(data);
}
/** WebCrypto. Throws: `PlatformError` on a page from plain HTTP, where browsers do not offer it. */
export function webCrypto() {
    const subtle = globalThis.crypto?.subtle;
    if (subtle === undefined) {
        throw new PlatformError("this page has no WebCrypto", { hint: "open it over HTTPS, or at 127.0.0.1" });
    }
    return subtle;
}
/** The SHA-256 digest of some bytes by WebCrypto, in lower-case hexadecimal: quick for what is long. */
export async function digestAsync(data) {
    const whole = data.buffer instanceof ArrayBuffer ? data : concat(data);
    return hex(new Uint8Array(await webCrypto().digest("SHA-256", whole)));
}
/** u64le(len) ‖ bytes for each item, in order: the encoding under the digests of `args` and `env`. */
export function encodeList(items) {
    return concat(...items.flatMap((item) => [littleEndian(item.length, 8), item]));
}
/** The SHA-256 digest of a list's encoding. */
export function listDigest(items) {
    return sha256(encodeList(items));
}
/** The encoding under a tagged digest: u32le(len(name)) ‖ name ‖ u64le(len(value)) ‖ value for each field, in order. */
export function encodeTagged(fields) {
    return concat(...fields.flatMap(([name, value]) => {
        const encoded = utf8(name);
        return [littleEndian(encoded.length, 4), encoded, littleEndian(value.length, 8), value];
    }));
}
