/** Bytes that come piece by piece. */
import { concat } from "./bytes.js";
const PIECE_BYTES = 1 << 16;
/** Bytes that come piece by piece. A guest may write a byte at a time: many small pieces are kept in one array. */
export class Gathered {
    pieces = [];
    last = new Uint8Array(0);
    used = 0;
    add(bytes) {
        if (bytes.length > this.last.length - this.used) {
            this.pieces.push(this.last.subarray(0, this.used));
            this.last = new Uint8Array(Math.max(bytes.length, PIECE_BYTES));
            this.used = 0;
        }
        this.last.set(bytes, this.used);
        this.used += bytes.length;
    }
    get bytes() {
        return concat(...this.pieces, this.last.subarray(0, this.used));
    }
}
