/**
 * The rewriter: a module in, the same module with gas, stack and memory limits in its own code out.
 *
 * Gas, stack units and limits are those of docs/determinism.md; NaNs become canonical, and the kinds of trap that V8
 * does not tell apart are told by a global. It is the second implementation of the one in Python
 * (plasm_core/sandbox/metering), and makes the same code, byte for byte (tests/sdk/test_metering.py), with these
 * differences: no workarounds for defects of wasm3; no function around an entry, since the host calls one export after
 * the other; none around the start that catches exceptions, since the host sees them.
 */

import { concat, utf8, type Bytes } from "../bytes.js";
import { BadModuleError } from "../errors.js";
import { malformed, Output, Reader, signed, sized, unsigned, vector } from "./binary.js";
import { Body, FAULT_CONVERSION, FAULT_GROWTH, FAULT_NULL_CALL } from "./body.js";
import * as wasm from "./module.js";

const TABLE_ELEMENTS = 1_000_000, MAX_PAGES = 65_536;
const I32 = 0x7f, I64 = 0x7e, F32 = 0x7d;
const MAX_FUNCTION_BYTES = 7_654_321; // what engines accept (WebAssembly JavaScript interface, implementation limits)
const TRAP_BELOW_ZERO = [0x42, 0x00, 0x53, 0x04, 0x40, 0x00, 0x0b]; // i64.const 0; i64.lt_s; if; unreachable; end

export const GAS_GLOBAL = "plasm:gas", PAGES_GLOBAL = "plasm:pages", FAULT_GLOBAL = "plasm:fault";

/** A metered module, and what of the original a host must know. */
export interface Metered {
  readonly code: Bytes;
  /** The exports to call, one after the other. What the last returns, if anything, is the exit code. */
  readonly calls: readonly string[];
  readonly memoryMinimumPages: number;
  /** Whether it has exceptions or tail calls, which are in plasm.det/v2 only. */
  readonly exceptions: boolean;
  readonly tailCalls: boolean;
}

/** Validate, check and rewrite a module. `entry`: the export to call in place of `_start`. Throws: `BadModuleError`. */
export function meter(data: Uint8Array, entry?: string): Metered {
  const whole = Uint8Array.from(data);
  // The original first: validated only afterwards, a guest could name the injected globals and refill its own gas.
  if (!WebAssembly.validate(whole)) throw new BadModuleError("invalid", "not a valid WebAssembly module, or of features that this engine lacks");
  const module = wasm.readModule(whole, entry), rewriter = new Rewriter(module);
  return {
    code: rewriter.rewrite(),
    exceptions: rewriter.exceptions,
    tailCalls: rewriter.tailCalls,
    calls: module.calls.map(({ as }) => as),
    memoryMinimumPages: module.memories[0]?.minimum ?? 0,
  };
}

export class Rewriter {
  readonly gas: number[];
  readonly stack: number[];
  readonly checkGas: number[];
  readonly charge: number[];
  readonly grow: number[];
  exceptions: boolean;
  tailCalls = false;
  private readonly pages: number[];
  private readonly faultGlobal: number[];
  private readonly types: Uint8Array[];
  private readonly injectedTypes: number[] = [];
  private readonly injectedBodies: Uint8Array[] = [];
  private readonly made = new Map<string, number[]>();

  constructor(readonly module: wasm.Module) {
    const first = module.globalCount, isOfExceptions = (types: Uint8Array) => types.includes(wasm.EXNREF);
    this.exceptions = module.tags.length > 0 || module.types.some(({ params, results }) => isOfExceptions(params) || isOfExceptions(results));
    this.types = module.types.map(({ params, results }) => functionTypeOf(params, results));
    this.gas = unsigned(first);
    this.stack = unsigned(first + 1);
    this.pages = unsigned(first + 2);
    this.faultGlobal = unsigned(first + 3);
    this.checkGas = this.trapIfNegative([0x23, ...this.gas]);
    // (n) → n: gas -= n, and trap if it is below zero
    this.charge = this.inject([I32], [I32], [0x00, 0x23, ...this.gas, 0x20, 0x00, 0xad, 0x7d, 0x24, ...this.gas, ...this.checkGas, 0x20, 0x00]);
    this.grow = this.inject([I32], [I32], this.growBody());
  }

  /** Code that traps if a value is below zero, which `load` loads. */
  trapIfNegative(load: number[]): number[] {
    return [...load, ...TRAP_BELOW_ZERO];
  }

  /** Code that stores the kind of fault, and traps. */
  fault(number: number): number[] {
    return [0x41, ...signed(number), 0x24, ...this.faultGlobal, 0x00];
  }

  private typeIndex(params: ArrayLike<number>, results: ArrayLike<number>): number {
    return this.types.push(functionTypeOf(params, results)) - 1;
  }

  private inject(params: number[], results: number[], body: number[]): number[] {
    this.injectedTypes.push(this.typeIndex(params, results));
    const count = this.injectedBodies.push(sized([...body, 0x0b]));
    return unsigned(this.module.imports.length + this.module.functions.length + count - 1);
  }

  private once(name: string, make: () => number[]): number[] {
    const found = this.made.get(name) ?? make();
    this.made.set(name, found);
    return found;
  }

  /** (n) → memory.grow(n), within the limit; a growth that the host refuses below it is a fault. */
  private growBody(): number[] {
    const maximum = this.module.memories[0]?.maximum ?? MAX_PAGES, limit = [0x41, ...signed(maximum | 0)];
    const pages = [0x23, ...this.pages];
    return [
      0x01, 0x01, I32,
      0x20, 0x00, 0x10, ...this.charge, 0x1a,
      // local 1: min(plasm:pages, the module's own maximum), unsigned
      ...pages, ...limit, ...pages, ...limit, 0x49, 0x1b, 0x21, 0x01,
      // n > limit - size: refuse
      0x20, 0x00, 0x20, 0x01, 0x3f, 0x00, 0x6b, 0x4b, 0x04, 0x40, 0x41, 0x7f, 0x0f, 0x0b,
      0x20, 0x00, 0x40, 0x00, 0x22, 0x01, 0x41, 0x7f, 0x46, 0x04, 0x40, ...this.fault(FAULT_GROWTH), 0x0b,
      0x20, 0x01,
    ];
  }

  /** The index of a function (value, n) → table.grow. */
  tableGrow(table: number): number[] {
    return this.once(`grow ${table}`, () => {
      const found = this.module.tables[table], index = unsigned(table);
      if (found === undefined) throw malformed("a table index is out of range");
      return this.inject([found.element, I32], [I32], [
        0x01, 0x01, I32,
        0x20, 0x01, 0x10, ...this.charge, 0x1a,
        0x20, 0x01, 0x41, ...signed(this.tableMaximum(table)), 0xfc, 0x10, ...index,
        0x6b, 0x4b, 0x04, 0x40, 0x41, 0x7f, 0x0f, 0x0b,
        0x20, 0x00, 0x20, 0x01, 0xfc, 0x0f, ...index, 0x22, 0x02, 0x41, 0x7f, 0x46, 0x04, 0x40,
        ...this.fault(FAULT_GROWTH), 0x0b, 0x20, 0x02,
      ]);
    });
  }

  /** The index of a function (i) → i that faults if the table's element i is null. */
  nullCheck(table: number): number[] {
    return this.once(`null ${table}`, () =>
      this.inject([I32], [I32], [
        0x00, 0x20, 0x00, 0x25, ...unsigned(table), 0xd1, 0x04, 0x40, ...this.fault(FAULT_NULL_CALL), 0x0b, 0x20, 0x00,
      ]),
    );
  }

  /** The index of a function (x) → x that faults if a float is a NaN. */
  nanCheck(type: number): number[] {
    return this.once(`nan ${type}`, () =>
      this.inject([type], [type], [
        0x00, 0x20, 0x00, 0x20, 0x00, type === F32 ? 0x5c : 0x62, 0x04, 0x40, ...this.fault(FAULT_CONVERSION), 0x0b, 0x20, 0x00,
      ]),
    );
  }

  /** The type of a block without parameters and with these results. */
  resultBlock(results: Uint8Array): number[] {
    if (results.length === 0) return [0x40];
    if (results.length === 1) return [...results];
    return this.once(`block ${results.join()}`, () => signed(this.typeIndex([], results)));
  }

  private tableMaximum(table: number): number {
    const share = Math.floor(TABLE_ELEMENTS / this.module.tables.length);
    return Math.min(this.module.tables[table]?.maximum ?? share, share);
  }

  rewrite(): Bytes {
    const { module } = this, bodies = this.bodies(); // first: it adds types and functions
    const sections = new Map<number, Uint8Array>();
    for (const [number, [start, end]] of module.sections) sections.set(number, module.data.subarray(start, end));
    sections.set(wasm.TYPE, vector(this.types));
    if (module.imports.length > 0) sections.set(wasm.IMPORT, this.imports());
    if (module.tags.length > 0) sections.set(wasm.TAG, vector(module.tags.map((type) => Uint8Array.from([0x00, ...unsigned(type)]))));
    sections.set(wasm.FUNCTION, vector([...module.functions, ...this.injectedTypes].map((index) => Uint8Array.from(unsigned(index)))));
    sections.set(wasm.CODE, vector([...bodies, ...this.injectedBodies]));
    sections.set(wasm.GLOBAL, this.globals());
    sections.set(wasm.EXPORT, this.exports());
    if (module.tables.length > 0) sections.set(wasm.TABLE, vector(module.tables.map((_, index) => this.table(index))));
    sections.delete(wasm.START);
    const out = new Output();
    out.append(module.data.subarray(0, 8));
    for (const number of wasm.SECTION_ORDER) {
      const section = sections.get(number);
      if (section === undefined) continue;
      out.push(number, ...unsigned(section.length));
      out.append(section);
    }
    return out.bytes.slice();
  }

  private table(index: number): Uint8Array {
    const { element, minimum } = this.module.tables[index] as { element: number; minimum: number };
    const maximum = this.tableMaximum(index);
    if (minimum > maximum) throw new BadModuleError("table_limit", `table ${index} starts with ${minimum} elements, more than ${maximum}`);
    return Uint8Array.from([element, 1, ...unsigned(minimum), ...unsigned(maximum)]);
  }

  private globals(): Bytes {
    const bounds = this.module.sections.get(wasm.GLOBAL), counter = [I32, 1, 0x41, 0x00, 0x0b];
    let old: Uint8Array = new Uint8Array(0);
    if (bounds !== undefined) {
      const reader = new Reader(this.module.data, ...bounds);
      reader.unsigned();
      old = reader.bytes(reader.end - reader.position);
    }
    const added = [I64, 1, 0x42, 0x00, 0x0b, ...counter, ...counter, ...counter];
    return concat(Uint8Array.from(unsigned(this.module.globalCount + 4)), old, Uint8Array.from(added));
  }

  private imports(): Bytes {
    return vector(this.module.imports.map(({ source, name, type }) =>
      concat(sized(utf8(source)), sized(utf8(name)), Uint8Array.from([0x00, ...unsigned(type)]))));
  }

  private exports(): Bytes {
    const { module } = this;
    const listed: [string, number, number[]][] = [
      [GAS_GLOBAL, 3, this.gas], [PAGES_GLOBAL, 3, this.pages], [FAULT_GLOBAL, 3, this.faultGlobal],
    ];
    for (const { as, index } of module.calls) listed.push([as, 0, unsigned(index)]);
    const memory = module.exports.find(({ name, kind }) => name === "memory" && kind === 2);
    listed.push(["memory", 2, unsigned(memory?.index ?? 0)]);
    return vector(listed.map(([name, kind, index]) => concat(sized(utf8(name)), Uint8Array.from([kind, ...index]))));
  }

  private bodies(): Uint8Array[] {
    const { module } = this, bounds = module.sections.get(wasm.CODE);
    if (bounds === undefined) return [];
    const reader = new Reader(module.data, ...bounds);
    if (reader.count() !== module.functions.length) throw malformed("functions and code do not match");
    return module.functions.map((type) => {
      const size = reader.unsigned(), start = reader.position;
      reader.bytes(size);
      const kind = module.types[type] as wasm.FunctionType;
      const body = new Body(this, kind, new Reader(module.data, start, start + size)).rewrite();
      if (body.length > MAX_FUNCTION_BYTES) throw new BadModuleError("function_too_large", "a function is too large to be metered");
      return sized(body);
    });
  }
}

function functionTypeOf(params: ArrayLike<number>, results: ArrayLike<number>): Uint8Array {
  return concat(Uint8Array.of(0x60), sized(params), sized(results));
}
