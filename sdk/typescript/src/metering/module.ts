/** A module but for its code, and the rules that it must meet beside being valid (docs/determinism.md, "The module"). */

import { fromUtf8 } from "../bytes.js";
import { BadModuleError } from "../errors.js";
import { malformed, Reader } from "./binary.js";

export const TYPE = 1, IMPORT = 2, FUNCTION = 3, TABLE = 4, MEMORY = 5, GLOBAL = 6, EXPORT = 7, START = 8, ELEMENT = 9;
export const CODE = 10, DATA = 11, DATA_COUNT = 12, TAG = 13;
export const SECTION_ORDER = [TYPE, IMPORT, FUNCTION, TABLE, MEMORY, TAG, GLOBAL, EXPORT, START, ELEMENT, DATA_COUNT, CODE, DATA];
export const WASI_MODULE = "wasi_snapshot_preview1";
const PAGE_BYTES = 65_536, MAX_TAG_VALUES = 16;
export const EXNREF = 0x69;
const NUMBERS = [0x7f, 0x7e, 0x7d, 0x7c, 0x7b], VALUE_TYPES = [...NUMBERS, 0x70, 0x6f, EXNREF];

/** The parameters of each host function: i is i32, I is i64. Each but proc_exit returns an i32. */
const HOST_FUNCTIONS: Record<string, string> = Object.fromEntries(
  ("args_get ii,args_sizes_get ii,environ_get ii,environ_sizes_get ii,clock_res_get ii,clock_time_get iIi,fd_advise iIIi," +
    "fd_allocate iII,fd_close i,fd_datasync i,fd_fdstat_get ii,fd_fdstat_set_flags ii,fd_fdstat_set_rights iII," +
    "fd_filestat_get ii,fd_filestat_set_size iI,fd_filestat_set_times iIIi,fd_pread iiiIi,fd_prestat_dir_name iii," +
    "fd_prestat_get ii,fd_pwrite iiiIi,fd_read iiii,fd_readdir iiiIi,fd_renumber ii,fd_seek iIii,fd_sync i,fd_tell ii," +
    "fd_write iiii,path_create_directory iii,path_filestat_get iiiii,path_filestat_set_times iiiiIIi,path_link iiiiiii," +
    "path_open iiiiiIIii,path_readlink iiiiii,path_remove_directory iii,path_rename iiiiii,path_symlink iiiii," +
    "path_unlink_file iii,poll_oneoff iiii,proc_exit i,proc_raise i,random_get ii,sched_yield ,sock_accept iii," +
    "sock_recv iiiiii,sock_send iiiii,sock_shutdown ii")
    .split(",")
    .map((entry) => entry.split(" ") as [string, string]),
);
const LETTERS: Record<number, string> = { 0x7f: "i", 0x7e: "I" };

export interface FunctionType {
  readonly params: Uint8Array;
  readonly results: Uint8Array;
}

interface LimitsOf {
  readonly minimum: number;
  readonly maximum: number | undefined;
  readonly element: number;
}

interface Import {
  readonly source: string;
  readonly name: string;
  readonly kind: number;
  readonly type: number;
}

export interface Module {
  readonly data: Uint8Array;
  readonly sections: ReadonlyMap<number, readonly [start: number, end: number]>;
  readonly types: readonly FunctionType[];
  readonly imports: readonly Import[];
  readonly functions: readonly number[];
  readonly tables: readonly LimitsOf[];
  readonly memories: readonly LimitsOf[];
  readonly globalCount: number;
  /** The types of the exception tags. */
  readonly tags: readonly number[];
  readonly exports: readonly { name: string; kind: number; index: number }[];
  /** The functions to call, in this order, and the names to export them by. */
  readonly calls: readonly { readonly as: string; readonly index: number }[];
}

const refused = (message: string): BadModuleError => new BadModuleError("feature", message);

/** Check the byte of a value type: read as one byte, the longer forms of reference types would be misread. */
export function checkType(type: number): number {
  if (!VALUE_TYPES.includes(type)) throw refused("the module uses typed function references or types of garbage collection");
  return type;
}

function readLimit(reader: Reader, element = 0): LimitsOf {
  const flags = reader.byte();
  if (flags > 1) throw refused("the module uses shared or 64-bit memory");
  return { minimum: reader.unsigned(), maximum: flags === 1 ? reader.unsigned() : undefined, element };
}

/** Parse a valid module, and check the rules. `entry`: the export to call in place of `_start`. Throws: `BadModuleError`. */
export function readModule(data: Uint8Array, entry?: string): Module {
  const sections = new Map<number, readonly [number, number]>();
  if (data.length < 8 || fromMagic(data) !== "\0asm") throw new BadModuleError("not_wasm", "not a WebAssembly module");
  const reader = new Reader(data, 8);
  while (!reader.done) {
    const number = reader.byte(), size = reader.unsigned(), start = reader.position;
    reader.bytes(size);
    if (number === 0) continue;
    if (sections.has(number) || !SECTION_ORDER.includes(number)) throw refused(`section ${number} is unknown or occurs twice`);
    sections.set(number, [start, start + size]);
  }
  const items = <T>(number: number, read: (section: Reader) => T): T[] => {
    const bounds = sections.get(number);
    if (bounds === undefined) return [];
    const section = new Reader(data, ...bounds);
    return Array.from({ length: section.count() }, () => read(section));
  };
  const types = items(TYPE, (section) => {
    if (section.byte() !== 0x60) throw refused("the module uses garbage collection types");
    const kind = { params: section.bytes(section.unsigned()), results: section.bytes(section.unsigned()) };
    [...kind.params, ...kind.results].forEach(checkType);
    return kind;
  });
  const startAt = sections.get(START);
  const module: Omit<Module, "calls"> = {
    data, sections, types,
    imports: items(IMPORT, readImport),
    functions: items(FUNCTION, (section) => section.unsigned()),
    tables: items(TABLE, (section) => {
      const element = section.byte();
      if (element !== 0x70 && element !== 0x6f) throw refused("the module uses typed function references");
      return readLimit(section, element);
    }),
    memories: items(MEMORY, (section) => readLimit(section)),
    globalCount: items(GLOBAL, (section) => {
      if (checkType(section.byte()) === EXNREF) throw refused("the module keeps an exception in a global");
      section.byte();
      skipConstant(section);
    }).length,
    tags: items(TAG, (section) => {
      if (section.byte() !== 0) throw refused("the module has a tag that is of no exception");
      const type = section.unsigned(), params = types[type]?.params;
      if (params === undefined) throw malformed("a type index is out of range");
      if (params.length > MAX_TAG_VALUES || params.some((item) => !NUMBERS.includes(item))) {
        throw refused(`the module has a tag of more than ${MAX_TAG_VALUES} values or with a reference`);
      }
      return type;
    }),
    exports: items(EXPORT, (section) => ({ name: section.name(), kind: section.byte(), index: section.unsigned() })),
  };
  checkRules(module);
  checkSegments(module);
  const start = startAt === undefined ? [] : [{ as: "plasm:start", index: new Reader(data, ...startAt).unsigned() }];
  return { ...module, calls: [...start, ...called(module, entry)] };
}

function fromMagic(data: Uint8Array): string {
  try {
    return fromUtf8(data.subarray(0, 4));
  } catch {
    return "";
  }
}

function readImport(section: Reader): Import {
  const source = section.name(), name = section.name(), kind = section.byte();
  if (kind !== 0) throw new BadModuleError("forbidden_import", `the module imports ${source}.${name}, which is no function`);
  return { source, name, kind, type: section.unsigned() };
}

/** Skip a constant expression. Return its value as a u32 where that is an i32 or i64 that the module states. */
export function skipConstant(section: Reader): number | undefined {
  const stack: (bigint | undefined)[] = [];
  for (;;) {
    const opcode = section.byte(), right = stack.at(-1), left = stack.at(-2);
    if (opcode === 0x0b) break;
    if (opcode === 0x41 || opcode === 0x42) stack.push(section.signed());
    else if (opcode === 0x43 || opcode === 0x44) {
      section.bytes(opcode === 0x43 ? 4 : 8);
      stack.push(undefined);
    } else if (opcode === 0xd0) {
      checkType(section.byte());
      stack.push(undefined);
    } else if (opcode === 0x23 || opcode === 0xd2) {
      section.skip(1);
      stack.push(undefined);
    } else if (opcode === 0xfd && section.unsigned() === 12) {
      section.bytes(16);
      stack.push(undefined);
    } else if ([0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e].includes(opcode) && stack.length >= 2) {
      stack.splice(-2);
      if (left === undefined || right === undefined) stack.push(undefined);
      else {
        const step = (opcode - (opcode < 0x70 ? 0x6a : 0x7c)) as 0 | 1 | 2;
        stack.push(BigInt.asUintN(64, [left + right, left - right, left * right][step] as bigint));
      }
    } else throw refused("the module has a constant expression of an unknown feature");
  }
  const [value] = stack;
  return stack.length === 1 && value !== undefined ? Number(BigInt.asUintN(32, value)) : undefined;
}

/** The type of a function by its index. */
export function functionType(module: Pick<Module, "imports" | "functions" | "types">, index: number): FunctionType {
  const imported = module.imports[index];
  const type = imported === undefined ? module.functions[index - module.imports.length] : imported.type;
  const found = type === undefined ? undefined : module.types[type];
  if (found === undefined) throw malformed("a function index is out of range");
  return found;
}

type Uncalled = Omit<Module, "calls">;

function checkRules(module: Uncalled): void {
  for (const { source, name, type } of module.imports) {
    const expected = source === WASI_MODULE ? HOST_FUNCTIONS[name] : undefined, kind = module.types[type];
    if (expected === undefined) throw new BadModuleError("forbidden_import", `the module imports ${source}.${name}, which is not there`);
    const letters = (found: Uint8Array | undefined) => Array.from(found ?? [], (item) => LETTERS[item] ?? "?").join("");
    if (letters(kind?.params) !== expected || letters(kind?.results) !== (name === "proc_exit" ? "" : "i")) {
      throw new BadModuleError("import_type", `the module imports ${name} with another type`);
    }
  }
  if (module.exports.some(({ name }) => name.startsWith("plasm:"))) {
    throw new BadModuleError("reserved_name", "the module exports a name that is reserved");
  }
  if (module.memories.length !== 1 || !module.exports.some(({ name, kind }) => name === "memory" && kind === 2)) {
    throw new BadModuleError("no_memory", "the module exports no memory of its own as memory");
  }
}

/** What is called: `_start`, or `_initialize`, if there is one, and the entry. */
function called(module: Uncalled, entry: string | undefined): Module["calls"] {
  const find = (wanted: string, as: string, most: number) => {
    const found = module.exports.find(({ name, kind }) => name === wanted && kind === 0);
    if (found === undefined) return [];
    const { params, results } = functionType(module, found.index);
    if (params.length > 0 || results.length > most || results.some((item) => item !== 0x7f)) {
      throw new BadModuleError("start_type", `${wanted} has another type`);
    }
    return [{ as, index: found.index }];
  };
  const last = entry === undefined ? find("_start", "_start", 0) : find(entry, "plasm:entry", 1);
  if (last.length === 0) throw new BadModuleError("no_start", `the module exports no function ${entry ?? "_start"}`);
  return entry === undefined ? last : [...find("_initialize", "plasm:initialize", 0), ...last];
}

/** Refuse active segments beyond their memory or table, so that instantiation cannot fail. */
function checkSegments(module: Uncalled): void {
  const outside = new BadModuleError("segment_out_of_bounds", "a segment does not lie inside its memory or table");
  const bytes = (module.memories[0]?.minimum ?? 0) * PAGE_BYTES;
  eachItem(module, DATA, (section) => {
    const flags = section.unsigned();
    if (flags === 2) section.skip(1);
    const offset = flags === 1 ? 0 : skipConstant(section), length = section.unsigned();
    section.bytes(length);
    if (flags !== 1 && (offset === undefined || offset + length > bytes)) throw outside;
  });
  eachItem(module, ELEMENT, (section) => {
    const flags = section.unsigned(), active = (flags & 1) === 0, explicit = (flags & 2) !== 0;
    const table = active && explicit ? section.unsigned() : 0;
    const offset = active ? skipConstant(section) : 0;
    if ((flags & 3) !== 0) {
      const kind = section.byte(), known = (flags & 4) !== 0 ? [0x70, 0x6f] : [0];
      if (!known.includes(kind)) throw refused("the module uses typed function references");
    }
    const length = section.count();
    for (let at = 0; at < length; at++) {
      if ((flags & 4) !== 0) skipConstant(section);
      else section.skip(1);
    }
    if (active && (offset === undefined || offset + length > (module.tables[table]?.minimum ?? -1))) throw outside;
  });
}

function eachItem(module: Uncalled, number: number, read: (section: Reader) => void): void {
  const bounds = module.sections.get(number);
  if (bounds === undefined) return;
  const section = new Reader(module.data, ...bounds);
  for (let left = section.count(); left > 0; left--) read(section);
}
