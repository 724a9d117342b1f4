/** Reads and checks the fields of an object; errors name the path of the field. */
import { InvalidRecordError } from "./errors.js";
const MAX_ITEMS = 1024;
const MAX_COUNTER = 2n ** 64n - 1n;
const TIME = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?Z$/;
/** The length of a text in characters (code points), as other implementations count it. */
export function characters(text) {
    let count = text.length;
    for (let at = 0; at < text.length - 1; at++) {
        if (/[\ud800-\udbff]/.test(text.charAt(at)) && /[\udc00-\udfff]/.test(text.charAt(at + 1)))
            count--;
    }
    return count;
}
/** One object of a record. Its methods throw `InvalidRecordError`, with the path of the field. */
export class Fields {
    record;
    path;
    object;
    known = new Set();
    constructor(value, record, path = "") {
        this.record = record;
        this.path = path;
        if (value === undefined)
            throw new InvalidRecordError(record, path, "required, but missing");
        if (value === null || typeof value !== "object" || Array.isArray(value)) {
            throw new InvalidRecordError(record, path, "expected an object");
        }
        this.object = value;
    }
    where(name) {
        return this.path === "" ? name : `${this.path}.${name}`;
    }
    fail(name, problem) {
        throw new InvalidRecordError(this.record, this.where(name), problem);
    }
    has(name) {
        return name in this.object;
    }
    get(name) {
        this.known.add(name);
        const found = this.object[name];
        if (found === undefined)
            this.fail(name, "required, but missing");
        return found;
    }
    /** Refuse fields that were not read: of a record that is closed. */
    close() {
        for (const name of Object.keys(this.object))
            if (!this.known.has(name))
                this.fail(name, "unknown field");
    }
    fields(name) {
        return new Fields(this.get(name), this.record, this.where(name));
    }
    text(name, pattern, maximum) {
        const value = this.get(name);
        if (typeof value !== "string" || !pattern.test(value) || characters(value) > maximum) {
            this.fail(name, `expected a string of at most ${maximum} characters of another form`);
        }
        return value;
    }
    lowerHex(name, bytes) {
        const value = this.get(name);
        if (typeof value !== "string" || value.length !== 2 * bytes || !/^[0-9a-f]*$/.test(value)) {
            this.fail(name, `expected ${2 * bytes} lower-case hexadecimal digits`);
        }
        return value;
    }
    digest(name) {
        return this.lowerHex(name, 32);
    }
    oneOf(name, ...words) {
        const value = this.get(name);
        if (!words.includes(value))
            this.fail(name, `expected ${words.map((word) => `"${word}"`).join(" or ")}`);
        return value;
    }
    boolean(name) {
        const value = this.get(name);
        if (typeof value !== "boolean")
            this.fail(name, "expected true or false");
        return value;
    }
    integer(name, minimum, maximum = Number.MAX_SAFE_INTEGER) {
        const value = this.get(name);
        if (typeof value !== "number" || !Number.isInteger(value) || value < minimum || value > maximum) {
            this.fail(name, `expected an integer from ${minimum} to ${maximum}`);
        }
        return value + 0; // of -0 too
    }
    /** A 64-bit count, which is a decimal string in JSON. */
    counter(name, maximum = MAX_COUNTER) {
        const value = this.get(name);
        if (typeof value !== "string" || !/^(0|[1-9][0-9]{0,19})$/.test(value))
            this.fail(name, "expected a decimal string");
        const count = BigInt(value);
        if (count > maximum)
            this.fail(name, `expected at most ${maximum}`);
        return count;
    }
    /** A moment in microseconds since 1970, from RFC 3339 with `Z`. */
    time(name) {
        const value = this.get(name), found = typeof value === "string" ? TIME.exec(value) : null;
        if (found === null)
            this.fail(name, "expected an RFC 3339 time that ends in Z");
        const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = found.slice(1, 7).map(Number);
        const moment = new Date(0);
        moment.setUTCFullYear(year, month - 1, day);
        moment.setUTCHours(hour, minute, second);
        const same = moment.getUTCFullYear() === year && moment.getUTCMonth() === month - 1 && moment.getUTCDate() === day &&
            moment.getUTCHours() === hour && moment.getUTCMinutes() === minute && moment.getUTCSeconds() === second;
        if (!same || year < 1)
            this.fail(name, "expected a day and a time that exist");
        return BigInt(moment.getTime()) * 1000n + BigInt((found[7] ?? "").padEnd(6, "0"));
    }
    /** A list of distinct strings, in any order; returned sorted. */
    distinct(name, maximum, accepts, expected) {
        const value = this.get(name);
        if (!Array.isArray(value) || value.length > maximum)
            this.fail(name, `expected at most ${maximum} ${expected}`);
        if (!value.every((item) => typeof item === "string" && accepts(item))) {
            this.fail(name, `expected a list of ${expected}`);
        }
        if (new Set(value).size !== value.length)
            this.fail(name, "expected distinct items");
        return [...value].sort();
    }
    /** A list of objects. */
    list(name) {
        const value = this.get(name);
        if (!Array.isArray(value))
            this.fail(name, "expected a list");
        if (value.length > MAX_ITEMS)
            this.fail(name, `expected a list of at most ${MAX_ITEMS} items`);
        return value.map((item, index) => new Fields(item, this.record, `${this.where(name)}[${index}]`));
    }
}
