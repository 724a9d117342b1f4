/** The files of a run on this thread: the input tree for the WASI host, and the digests of what the job left. */
import { utf8 } from "./bytes.js";
import { sha256 } from "./digest.js";
import { Files } from "./files.mjs";
import { Gathered } from "./gathered.js";
import { encodeListing, FILE } from "./tree-listing.js";
const ROOT = ".";
/** A path as the host has it: a character for each byte of its UTF-8, empty for the root. */
function hostPath(path) {
    return path === ROOT ? "" : Array.from(utf8(path), (byte) => String.fromCharCode(byte)).join("");
}
export class RunFiles {
    asked;
    files;
    constructor(host, asked) {
        this.asked = asked;
        const { listing, data, readOnly, outputs, limits } = asked;
        const job = { listing, readOnly: readOnly.map(hostPath), outputs: outputs.map(hostPath), limits };
        this.files = new Files(host, job, (offset, target) => target.set(data.subarray(offset, offset + target.length)));
        host.takeFiles(this.files);
    }
    /** The outputs that the job left, with their digests. To be called once, after the run. */
    left() {
        const found = new Map(), decoder = new TextDecoder();
        let bytes = new Gathered(), last;
        const close = () => {
            if (last === undefined)
                return;
            found.get(last.position)?.push({ path: last.path, kind: "file", sizeBytes: last.size, sha256: sha256(bytes.bytes) });
            last = undefined;
        };
        this.files.collect({
            entry(position, kind, size, raw) {
                close();
                const path = decoder.decode(raw);
                if (!found.has(position))
                    found.set(position, []);
                if (kind === FILE) {
                    bytes = new Gathered();
                    last = { position, path, size };
                }
                else
                    found.get(position)?.push({ path, kind: "directory" });
            },
            data: (piece) => bytes.add(piece),
        });
        close();
        return [...found].map(([position, entries]) => {
            const path = this.asked.outputs[position], [top] = entries;
            if (top?.path === "" && top.kind === "file")
                return { path, kind: "file", sha256: top.sha256 };
            return { path, kind: "tree", sha256: sha256(encodeListing(entries.filter((entry) => entry.path !== ""))) };
        });
    }
}
