/** The listing of a tree of files, which its digest is taken of (docs/files.md, "The listing"). */
import { compareBytes, concat, fromUtf8, hex, littleEndian, unhex, utf8 } from "./bytes.js";
import { InvalidRecordError } from "./errors.js";
const MAGIC = utf8("plasm.tree/v1\n");
export const DIRECTORY = 3, FILE = 4, LINK = 7;
export const MAX_TREE_ENTRIES = 65_536;
const MAX_PATH_BYTES = 1_024, MAX_NAME_BYTES = 255, MAX_TARGET_BYTES = 1_024, MAX_FILE_BYTES = 2 ** 40;
const fail = (problem) => {
    throw new InvalidRecordError("listing", "", problem);
};
/** Encode entries, given in any order. Throws: `InvalidRecordError` if they are no tree. */
export function encodeListing(entries) {
    const sorted = [...entries].map((entry) => ({ entry, path: utf8(entry.path) })).sort((one, other) => compareBytes(one.path, other.path));
    const parts = [MAGIC];
    for (const { entry, path } of sorted) {
        const kind = { directory: DIRECTORY, file: FILE, link: LINK }[entry.kind];
        parts.push(Uint8Array.of(kind), littleEndian(path.length, 4), path);
        if (kind === FILE)
            parts.push(littleEndian(entry.sizeBytes ?? 0, 8), unhex(entry.sha256 ?? ""));
        if (kind === LINK) {
            const target = utf8(entry.target ?? "");
            parts.push(littleEndian(target.length, 4), target);
        }
    }
    const listing = concat(...parts);
    for (const _ of readListing(listing))
        ; // refuses what no reader accepts
    return listing;
}
/** Read a listing entry by entry. Throws: `InvalidRecordError`. */
export function* readListing(listing) {
    if (!MAGIC.every((byte, index) => listing[index] === byte))
        fail("not the listing of a tree");
    const view = new DataView(listing.buffer, listing.byteOffset, listing.length), directories = new Set([""]);
    let at = MAGIC.length, last = new Uint8Array(0), count = 0;
    const take = (size) => {
        const start = at;
        if (size > listing.length - at)
            fail("cut short");
        at += size;
        return start;
    };
    const bytes = (size) => listing.subarray(take(size), at);
    while (at < listing.length) {
        if (++count > MAX_TREE_ENTRIES)
            fail(`more than ${MAX_TREE_ENTRIES} entries`);
        const kind = view.getUint8(take(1)), length = view.getUint32(take(4), true);
        if (length > MAX_PATH_BYTES)
            fail(`a path of ${length} bytes, more than ${MAX_PATH_BYTES}`);
        const raw = bytes(length), path = pathOf(raw), slash = path.lastIndexOf("/");
        if (compareBytes(raw, last) <= 0)
            fail(`${shown(path)} is out of order`);
        if (!directories.has(slash < 0 ? "" : path.slice(0, slash)))
            fail(`${shown(path)} is in no directory of the tree`);
        last = raw;
        if (kind === DIRECTORY) {
            directories.add(path);
            yield { path, kind: "directory" };
        }
        else if (kind === FILE) {
            const size = view.getBigUint64(take(8), true), sha256 = hex(bytes(32));
            if (size > BigInt(MAX_FILE_BYTES))
                fail(`${shown(path)} has more than ${MAX_FILE_BYTES} bytes`);
            yield { path, kind: "file", sizeBytes: Number(size), sha256 };
        }
        else if (kind === LINK) {
            const size = view.getUint32(take(4), true);
            if (size > MAX_TARGET_BYTES)
                fail(`the target of ${shown(path)} has more than ${MAX_TARGET_BYTES} bytes`);
            const target = textOf(bytes(size));
            if (target === "" || target.startsWith("/"))
                fail(`${shown(target)} is no relative target of a link`);
            yield { path, kind: "link", target };
        }
        else
            fail(`${shown(path)} is of the unknown kind ${kind}`);
    }
}
function textOf(raw) {
    let text = "";
    try {
        text = fromUtf8(raw);
    }
    catch {
        fail("a path or target is not UTF-8");
    }
    if (text.includes("\0"))
        fail(`${shown(text)} contains NUL`);
    return text;
}
function pathOf(raw) {
    const path = textOf(raw);
    for (const name of path.split("/")) {
        if (name === "" || name === "." || name === "..")
            fail(`${shown(path)} has an empty name, . or ..`);
        if (name.length > MAX_NAME_BYTES || utf8(name).length > MAX_NAME_BYTES)
            fail(`a name in ${shown(path)} has more than ${MAX_NAME_BYTES} bytes`);
    }
    return path;
}
const shown = (path) => JSON.stringify(path.slice(0, 200));
