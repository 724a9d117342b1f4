/**
 * JSON by the rules of docs/receipts.md, "Reading": RFC 8259 in UTF-8 without exceptions.
 *
 * `JSON.parse` takes duplicate names, and names with a NUL, which other implementations refuse.
 */

import { fromUtf8 } from "./bytes.js";
import { InvalidRecordError } from "./errors.js";

export type Json = null | boolean | number | string | Json[] | JsonObject;
/** An object of JSON, without a prototype. */
export interface JsonObject {
  [name: string]: Json;
}

const MAX_DEPTH = 255;
const MAX_NUMBER_CHARACTERS = 1000;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPES: Record<string, string> = {
  '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t",
};
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

class Parser {
  private at = 0;

  constructor(private readonly text: string) {}

  document(): Json {
    const value = this.value(0);
    this.skip(SPACE);
    if (this.at !== this.text.length) this.fail("something follows the value");
    return value;
  }

  private fail(problem: string): never {
    throw new SyntaxError(`${problem} at character ${this.at}`);
  }

  private skip(pattern: RegExp): string {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text)?.[0] ?? "";
    this.at += found.length;
    return found;
  }

  private take(token: string): boolean {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  private value(depth: number): Json {
    this.skip(SPACE);
    if (this.take("{")) return this.object(depth + 1);
    if (this.take("[")) return this.list(depth + 1);
    if (this.take('"')) return this.string();
    if (this.take("true")) return true;
    if (this.take("false")) return false;
    if (this.take("null")) return null;
    const digits = this.skip(NUMBER);
    if (digits === "") this.fail("not a value");
    if (digits.length > MAX_NUMBER_CHARACTERS) this.fail(`a number has more than ${MAX_NUMBER_CHARACTERS} characters`);
    return Number(digits);
  }

  private object(depth: number): JsonObject {
    if (depth > MAX_DEPTH) this.fail("nested too deeply");
    const found = Object.create(null) as JsonObject;
    this.skip(SPACE);
    if (this.take("}")) return found;
    do {
      this.skip(SPACE);
      if (!this.take('"')) this.fail("not a name");
      const name = this.string();
      if (name in found) this.fail("a name occurs twice in one object");
      if (name.includes("\0")) this.fail("a name has a NUL in it");
      this.skip(SPACE);
      if (!this.take(":")) this.fail("not a colon");
      found[name] = this.value(depth);
      this.skip(SPACE);
    } while (this.take(","));
    if (!this.take("}")) this.fail("an object is not closed");
    return found;
  }

  private list(depth: number): Json[] {
    if (depth > MAX_DEPTH) this.fail("nested too deeply");
    const found: Json[] = [];
    this.skip(SPACE);
    if (this.take("]")) return found;
    do {
      found.push(this.value(depth));
      this.skip(SPACE);
    } while (this.take(","));
    if (!this.take("]")) this.fail("a list is not closed");
    return found;
  }

  private string(): string {
    let text = this.skip(PLAIN), escaped = false;
    while (!this.take('"')) {
      if (!this.take("\\")) this.fail(this.at < this.text.length ? "a control character in a string" : "a string is not closed");
      if (this.take("u")) {
        const digits = this.text.slice(this.at, this.at + 4);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) this.fail("not an escape");
        this.at += 4;
        text += String.fromCharCode(Number.parseInt(digits, 16));
        escaped = true;
      } else {
        const meant = ESCAPES[this.text.charAt(this.at)];
        if (meant === undefined) this.fail("not an escape");
        this.at++;
        text += meant;
      }
      text += this.skip(PLAIN);
    }
    if (escaped && LONE_SURROGATE.test(text)) this.fail("half a character in a string");
    return text;
  }
}

/** Parse JSON strictly, at most `maximum` bytes. Throws: `InvalidRecordError`. */
export function parseJson(data: Uint8Array, record: string, maximum: number): Json {
  if (data.length > maximum) {
    throw new InvalidRecordError(record, "", `${data.length} bytes, more than the ${maximum} allowed`);
  }
  try {
    return new Parser(fromUtf8(data)).document();
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
    throw new InvalidRecordError(record, "", `not JSON: ${error.message}`);
  }
}
