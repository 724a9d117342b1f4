/**
 * The WASI preview 1 host of plasm.det/v1 in JavaScript, without dependencies: for V8 beside Python, and for browsers.
 *
 * Written from docs/wasi.md and docs/determinism.md, so that it and the Python host check each other. What a guest can
 * observe is fixed by the job: three descriptors, a virtual clock, seeded randomness. Each pointer is checked before
 * anything is done, and each call is charged before it works.
 */

const BADF = 8, FAULT = 21, INVAL = 28, NOSYS = 52, NOTDIR = 54;
const NOTSOCK = 57, NOTSUP = 58, SPIPE = 70, NOTCAPABLE = 76;
const RIGHT_FD_READ = 1n << 1n, RIGHT_FD_WRITE = 1n << 6n, RIGHT_POLL = 1n << 27n;
const RIGHTS = [RIGHT_FD_READ | RIGHT_POLL, RIGHT_FD_WRITE | RIGHT_POLL, RIGHT_FD_WRITE | RIGHT_POLL];
const CALL_GAS = 1000, VECTOR_GAS = 8, POINTER_GAS = 4;
const MAX_VECTORS = 1024, MAX_SUBSCRIPTIONS = 1024, SUBSCRIPTION_BYTES = 48, EVENT_BYTES = 32;
const EVENT_CLOCK = 0, EVENT_FD_READ = 1, EVENT_FD_WRITE = 2, CLOCK_ABSOLUTE = 1, HANGUP = 1;
const CLOCK_REALTIME = 0, LAST_CLOCK = 3;
const EPOCH_NS = 946684800n * 1000000000n; // 2000-01-01T00:00:00Z
const STEP_NS = 1000n, LAST_NS = (1n << 63n) - 1n;
const MAX_U32 = 0xffffffff, CHUNK = 1 << 16;

/** Why a guest was ended by its host. `kind` is the outcome's, `code` the exit code where it exited. */
class Ended {
  constructor(kind, code = 0) {
    this.kind = kind;
    this.code = code;
  }
}

/** An errno that a host function answers. */
class Errno {
  constructor(code) {
    this.code = code;
  }
}

// FIPS 180-4, section 4.2.2: the first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const SHA256_K = new Int32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
  0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
  0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
  0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
  0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
  0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);

const SHA256_START = new Int32Array([
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]);
const sha256Words = new Int32Array(64); // made once: a job may ask for gigabytes of randomness

/** Take the block of 64 bytes at an offset of a DataView into the state of SHA-256. */
function sha256Block(h, view, start) {
  const w = sha256Words;
  for (let i = 0; i < 16; i++) w[i] = view.getInt32(start + 4 * i);
  for (let i = 16; i < 64; i++) {
    const v = w[i - 15], u = w[i - 2];
    const s0 = ((v >>> 7) | (v << 25)) ^ ((v >>> 18) | (v << 14)) ^ (v >>> 3);
    const s1 = ((u >>> 17) | (u << 15)) ^ ((u >>> 19) | (u << 13)) ^ (u >>> 10);
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
  }
  let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], last = h[7];
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (last + s1 + ((e & f) ^ (~e & g)) + SHA256_K[i] + w[i]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    last = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  h[0] += a;
  h[1] += b;
  h[2] += c;
  h[3] += d;
  h[4] += e;
  h[5] += f;
  h[6] += g;
  h[7] += last;
}

/** Return some bytes with the padding of SHA-256 behind them. */
function sha256Padded(bytes) {
  const padded = new Uint8Array(((bytes.length + 72) >> 6) << 6);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  new DataView(padded.buffer).setBigUint64(padded.length - 8, BigInt(bytes.length) * 8n);
  return padded;
}

/** SHA-256 (FIPS 180-4) of some bytes. */
function sha256(bytes) {
  const padded = sha256Padded(bytes), view = new DataView(padded.buffer), h = SHA256_START.slice();
  for (let start = 0; start < padded.length; start += 64) sha256Block(h, view, start);
  const digest = new DataView(new ArrayBuffer(32));
  for (let i = 0; i < 8; i++) digest.setInt32(4 * i, h[i]);
  return new Uint8Array(digest.buffer);
}

/** The stream block 0 ‖ block 1 ‖ …, block i = SHA-256("plasm.det/v1 random" ‖ seed ‖ u64le(i)). */
class SeededRandom {
  constructor(seed) {
    const tag = Array.from("plasm.det/v1 random", (char) => char.charCodeAt(0));
    const input = new Uint8Array(tag.length + seed.length + 8);
    input.set(tag);
    input.set(seed, tag.length);
    this.padded = new DataView(sha256Padded(input).buffer);
    this.counterAt = tag.length + seed.length;
    this.next = 0n;
    this.state = new Int32Array(8);
    this.block = new Uint8Array(32);
    this.words = new DataView(this.block.buffer);
    this.used = 32; // bytes of the block that were given out
  }

  fill(target) {
    for (let filled = 0; filled < target.length; ) {
      if (this.used === 32) this.nextBlock();
      const size = Math.min(32 - this.used, target.length - filled);
      for (let i = 0; i < size; i++) target[filled + i] = this.block[this.used + i];
      filled += size;
      this.used += size;
    }
  }

  nextBlock() {
    const { padded, state, words } = this;
    padded.setBigUint64(this.counterAt, this.next++, true);
    state.set(SHA256_START);
    for (let start = 0; start < padded.byteLength; start += 64) sha256Block(state, padded, start);
    for (let i = 0; i < 8; i++) words.setInt32(4 * i, state[i]);
    this.used = 0;
  }
}

/** Time that passes only when it is read or waited for, in nanoseconds since the job's start. */
class VirtualClock {
  constructor() {
    this.time = 0n;
  }

  startOf(clock) {
    return clock === CLOCK_REALTIME ? EPOCH_NS : 0n;
  }

  read(clock) {
    const value = this.startOf(clock) + this.time;
    this.time = this.time + STEP_NS < LAST_NS ? this.time + STEP_NS : LAST_NS;
    return value;
  }

  now() {
    return this.time;
  }

  waitUntil(deadline) {
    if (deadline > this.time) this.time = deadline;
  }
}

/** Copy bytes from one array to another. A few are copied at once: making views of them would take longer. */
function copied(source, from, target, at, size) {
  if (size < 32) for (let i = 0; i < size; i++) target[at + i] = source[from + i];
  else target.set(source.subarray(from, from + size), at);
}

// (module (func (export "trap") unreachable))
const TRAP_MODULE = Uint8Array.of(
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4, 116, 114, 97, 112, 0, 0, 10, 5, 1, 3, 0, 0, 11,
);
const { trap } = new WebAssembly.Instance(new WebAssembly.Module(TRAP_MODULE)).exports;

/** Arguments or environment. The gas for asking for their sizes does not depend on their number, nor may the time. */
class Strings {
  constructor(strings) {
    this.list = strings;
    this.total = strings.reduce((sum, string) => sum + string.length + 1, 0);
  }
}

/**
 * The host of one job.
 *
 * job: { args, env: arrays of Uint8Array without NUL; seed: 32 bytes; outputBytes, stdinBytes: numbers }.
 * io: write(stream, bytes), stream 1 or 2, the bytes valid during the call only; read(target) fills all of target with
 * the next bytes of standard input; optionally clock and random, in place of the virtual ones.
 */
class Host {
  constructor(job, io) {
    this.args = new Strings([Uint8Array.of(109, 97, 105, 110), ...job.args]); // argv[0] is "main"
    this.env = new Strings(job.env);
    this.io = io;
    this.stdinLeft = job.stdinBytes;
    this.outputLeft = [0, job.outputBytes, job.outputBytes];
    this.clock = io.clock ?? new VirtualClock();
    this.random = io.random ?? new SeededRandom(job.seed);
    this.streams = new Map([[0, 0], [1, 1], [2, 2]]);
    this.rights = new Map(RIGHTS.map((right, fd) => [fd, right]));
    this.files = null;
    this.chunk = new Uint8Array(0); // bytes on their way between many vectors and one read or write
    /** What ended the guest in a host function: to be explained in place of the trap that the caller catches. */
    this.thrown = undefined;
  }

  /** Give the host its job's files (files.mjs), whose functions take the place of its own. Call it before `imports`. */
  takeFiles(files) {
    this.files = files;
  }

  /** Give the host an instance's memory and gas counter, a mutable i64 global, before the guest runs. */
  attach(memory, gas) {
    this.memory = memory;
    this.gas = gas;
  }

  /** The functions to import, by name. */
  get imports() {
    const wrapped = {};
    for (const name of FUNCTIONS) {
      const method = this.files?.[name] ? this.files[name].bind(this.files) : this[name].bind(this);
      wrapped[name] = (...values) => {
        try {
          this.charge(CALL_GAS);
          return method(...values.map((value) => (typeof value === "number" ? value >>> 0 : BigInt.asUintN(64, value))));
        } catch (error) {
          if (error instanceof Errno) return error.code;
          this.thrown = error;
          return trap(); // a guest's exception handlers would catch what JavaScript throws, but they catch no trap
        }
      };
    }
    return wrapped;
  }

  // -- gas and memory

  charge(amount) {
    this.gas.value -= BigInt(amount);
    if (this.gas.value < 0n) throw new Ended("out_of_gas");
  }

  check(pointer, length) {
    if (pointer + length > this.memory.buffer.byteLength) throw new Errno(FAULT);
  }

  bytes(pointer, length) {
    this.check(pointer, length);
    return new Uint8Array(this.memory.buffer, pointer, length);
  }

  view(pointer, length) {
    this.check(pointer, length);
    return new DataView(this.memory.buffer, pointer, length);
  }

  descriptor(fd, right = 0n) {
    if (!this.streams.has(fd)) throw new Errno(BADF);
    if (right & ~this.rights.get(fd)) throw new Errno(NOTCAPABLE);
    return this.streams.get(fd);
  }

  // -- arguments and environment

  stringsGet({ list: strings, total }, pointers, buffer) {
    this.charge(POINTER_GAS * strings.length + total);
    this.check(pointers, 4 * strings.length);
    const target = this.bytes(buffer, total);
    const addresses = new Uint32Array(strings.length);
    let offset = 0;
    strings.forEach((string, index) => {
      addresses[index] = buffer + offset;
      target.set(string, offset);
      target[offset + string.length] = 0;
      offset += string.length + 1;
    });
    const list = this.view(pointers, 4 * strings.length);
    addresses.forEach((address, index) => list.setUint32(4 * index, address, true));
    return 0;
  }

  stringsSizes({ list, total }, count, size) {
    this.check(count, 4);
    this.view(size, 4).setUint32(0, total, true);
    this.view(count, 4).setUint32(0, list.length, true);
    return 0;
  }

  args_get(argv, buffer) {
    return this.stringsGet(this.args, argv, buffer);
  }

  args_sizes_get(count, size) {
    return this.stringsSizes(this.args, count, size);
  }

  environ_get(environ, buffer) {
    return this.stringsGet(this.env, environ, buffer);
  }

  environ_sizes_get(count, size) {
    return this.stringsSizes(this.env, count, size);
  }

  // -- clocks, randomness, the process

  clock_res_get(clock, resolution) {
    if (clock > LAST_CLOCK) return INVAL;
    this.view(resolution, 8).setBigUint64(0, 1000n, true);
    return 0;
  }

  clock_time_get(clock, _precision, timestamp) {
    if (clock > LAST_CLOCK) return INVAL;
    const target = this.view(timestamp, 8);
    target.setBigUint64(0, this.clock.read(clock), true);
    return 0;
  }

  random_get(buffer, length) {
    this.charge(length);
    this.random.fill(this.bytes(buffer, length));
    return 0;
  }

  proc_exit(code) {
    throw new Ended("exited", code);
  }

  proc_raise() {
    return NOSYS;
  }

  sched_yield() {
    return 0;
  }

  // -- descriptors

  /** Read a list of vectors as [pointer, length] pairs, each checked. */
  vectors(list, count) {
    if (count > MAX_VECTORS) throw new Errno(INVAL);
    this.charge(VECTOR_GAS * count);
    const view = this.view(list, 8 * count), found = [];
    for (let index = 0; index < count; index++) {
      found.push([view.getUint32(8 * index, true), view.getUint32(8 * index + 4, true)]);
    }
    for (const [pointer, length] of found) this.check(pointer, length);
    return found;
  }

  /** Fill vectors with so many bytes. read(target) fills a target with the next ones; once serves many vectors. */
  scatter(vectors, count, read) {
    const memory = new Uint8Array(this.memory.buffer);
    let left = count, from = 0, to = 0; // what was read and is in the chunk, and how many bytes are wanted besides
    for (const [start, length] of vectors) {
      for (let at = start, end = start + Math.min(length, left + to - from); at < end; ) {
        if (from === to && end - at >= Math.min(CHUNK, left)) {
          read(memory.subarray(at, end));
          left -= end - at;
          break;
        }
        if (from === to) {
          from = 0;
          to = Math.min(CHUNK, left);
          left -= to;
          read(this.chunkOf(to));
        }
        const size = Math.min(end - at, to - from);
        copied(this.chunk, from, memory, at, size);
        from += size;
        at += size;
      }
    }
  }

  /** Give write(bytes) so many bytes of vectors, in pieces of CHUNK bytes: once takes many vectors. */
  gather(vectors, count, write) {
    const memory = new Uint8Array(this.memory.buffer);
    let left = count, filled = 0;
    for (const [start, length] of vectors) {
      for (let at = start, end = start + Math.min(length, left); at < end; ) {
        const size = Math.min(end - at, CHUNK - filled), isWhole = filled === 0 && (size === CHUNK || size === left);
        if (isWhole) write(memory.subarray(at, at + size));
        else {
          copied(memory, at, this.chunkOf(Math.min(CHUNK, filled + left)), filled, size);
          filled += size;
        }
        at += size;
        left -= size;
        if (filled && (filled === CHUNK || !left)) {
          write(this.chunk.subarray(0, filled));
          filled = 0;
        }
      }
    }
  }

  /** The first bytes of the chunk, which is made longer if need be: it keeps what it has. */
  chunkOf(size) {
    if (this.chunk.length < size) {
      const longer = new Uint8Array(size);
      longer.set(this.chunk);
      this.chunk = longer;
    }
    return this.chunk.subarray(0, size);
  }

  fd_read(fd, list, count, nread) {
    this.descriptor(fd, RIGHT_FD_READ);
    const vectors = this.vectors(list, count);
    this.check(nread, 4);
    const room = vectors.reduce((sum, [, length]) => sum + length, 0);
    const wanted = Math.min(room, this.stdinLeft, MAX_U32);
    this.charge(wanted);
    this.scatter(vectors, wanted, (target) => this.io.read(target));
    this.stdinLeft -= wanted;
    this.view(nread, 4).setUint32(0, wanted, true);
    return 0;
  }

  fd_write(fd, list, count, nwritten) {
    const stream = this.descriptor(fd, RIGHT_FD_WRITE);
    const vectors = this.vectors(list, count);
    this.check(nwritten, 4);
    const total = vectors.reduce((sum, [, length]) => sum + length, 0);
    if (total > MAX_U32) return INVAL;
    this.charge(total);
    const room = Math.min(total, this.outputLeft[stream]);
    this.outputLeft[stream] -= room;
    this.gather(vectors, room, (bytes) => this.io.write(stream, bytes));
    if (room < total) throw new Ended("output_limit");
    this.view(nwritten, 4).setUint32(0, total, true);
    return 0;
  }

  notSeekable(fd) {
    this.descriptor(fd);
    return SPIPE;
  }

  fd_close(fd) {
    this.descriptor(fd);
    this.streams.delete(fd);
    this.rights.delete(fd);
    return 0;
  }

  fd_renumber(source, target) {
    this.descriptor(source);
    this.descriptor(target);
    if (source !== target) {
      for (const table of [this.streams, this.rights]) {
        table.set(target, table.get(source));
        table.delete(source);
      }
    }
    return 0;
  }

  fd_fdstat_get(fd, stat) {
    this.descriptor(fd);
    const view = this.view(stat, 24);
    view.setBigUint64(0, 0n, true);
    view.setBigUint64(8, this.rights.get(fd), true);
    view.setBigUint64(16, 0n, true);
    return 0;
  }

  fd_fdstat_set_flags(fd, flags) {
    this.descriptor(fd);
    return flags ? NOTSUP : 0;
  }

  fd_fdstat_set_rights(fd, rights, inheriting) {
    this.descriptor(fd);
    if (rights & ~this.rights.get(fd) || inheriting) return NOTCAPABLE;
    this.rights.set(fd, rights);
    return 0;
  }

  fd_filestat_get(fd, stat) {
    this.descriptor(fd);
    this.bytes(stat, 64).fill(0);
    return 0;
  }

  notCapable(fd) {
    this.descriptor(fd);
    return NOTCAPABLE;
  }

  noPreopen() {
    return BADF;
  }

  noDirectory(fd) {
    this.descriptor(fd);
    return NOTDIR;
  }

  path_symlink(_old, _oldLength, fd) {
    return this.noDirectory(fd);
  }

  noSocket(fd) {
    this.descriptor(fd);
    return NOTSOCK;
  }

  // -- polling

  poll_oneoff(subscriptions, events, count, nevents) {
    if (count < 1 || count > MAX_SUBSCRIPTIONS) return INVAL;
    this.charge(SUBSCRIPTION_BYTES * count);
    const view = this.view(subscriptions, SUBSCRIPTION_BYTES * count);
    this.check(events, EVENT_BYTES * count);
    this.check(nevents, 4);
    const asked = [];
    for (let start = 0; start < SUBSCRIPTION_BYTES * count; start += SUBSCRIPTION_BYTES) {
      asked.push({
        userdata: view.getBigUint64(start, true),
        kind: view.getUint8(start + 8),
        target: view.getUint32(start + 16, true), // a clock or a descriptor
        timeout: view.getBigUint64(start + 24, true),
        flags: view.getUint16(start + 40, true),
      });
    }
    if (asked.some((item) => item.kind > EVENT_FD_WRITE)) return INVAL;
    const ready = this.wait(asked).map((item) => this.event(item));
    const target = this.view(events, EVENT_BYTES * ready.length);
    ready.forEach((event, index) => {
      const start = EVENT_BYTES * index;
      for (let offset = 0; offset < EVENT_BYTES; offset += 8) target.setBigUint64(start + offset, 0n, true);
      target.setBigUint64(start, event.userdata, true);
      target.setUint16(start + 8, event.error, true);
      target.setUint8(start + 10, event.kind);
      target.setBigUint64(start + 16, BigInt(event.size), true);
      target.setUint16(start + 24, event.flags, true);
    });
    this.view(nevents, 4).setUint32(0, ready.length, true);
    return 0;
  }

  /** With clocks alone, jump to the earliest deadline. Return the subscriptions that are ready, in their order. */
  wait(asked) {
    const start = this.clock.now();
    for (const item of asked) {
      if (item.kind !== EVENT_CLOCK || item.target > LAST_CLOCK) continue;
      const due = item.flags & CLOCK_ABSOLUTE ? item.timeout - this.clock.startOf(item.target) : start + item.timeout;
      item.deadline = due < LAST_NS ? due : LAST_NS;
    }
    if (asked.every((item) => item.deadline !== undefined)) {
      this.clock.waitUntil(asked.map((item) => item.deadline).reduce((least, due) => (due < least ? due : least)));
    }
    const now = this.clock.now();
    return asked.filter((item) => item.deadline === undefined || item.deadline <= now);
  }

  event({ userdata, kind, target }) {
    if (kind === EVENT_CLOCK) return { userdata, kind, error: target > LAST_CLOCK ? INVAL : 0, size: 0, flags: 0 };
    try {
      if (this.files?.has(target)) {
        return { userdata, kind, error: 0, size: this.files.readyBytes(target, kind === EVENT_FD_WRITE), flags: 0 };
      }
      const stream = this.descriptor(target, (kind === EVENT_FD_READ ? RIGHT_FD_READ : RIGHT_FD_WRITE) | RIGHT_POLL);
      const size = stream ? this.outputLeft[stream] : this.stdinLeft;
      return { userdata, kind, error: 0, size, flags: size ? 0 : HANGUP };
    } catch (error) {
      if (!(error instanceof Errno)) throw error;
      return { userdata, kind, error: error.code, size: 0, flags: 0 };
    }
  }
}

const SAME = {
  notSeekable: ["fd_pread", "fd_pwrite", "fd_seek", "fd_tell"],
  notCapable: [
    "fd_advise", "fd_allocate", "fd_datasync", "fd_sync", "fd_filestat_set_size", "fd_filestat_set_times", "fd_readdir",
  ],
  noPreopen: ["fd_prestat_get", "fd_prestat_dir_name"],
  noDirectory: [
    "path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link", "path_open", "path_readlink",
    "path_remove_directory", "path_rename", "path_unlink_file",
  ],
  noSocket: ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"],
};
for (const [method, names] of Object.entries(SAME)) {
  for (const name of names) Host.prototype[name] = Host.prototype[method];
}

/** The names of all functions of wasi_snapshot_preview1 that a module may import. */
const FUNCTIONS = Object.getOwnPropertyNames(Host.prototype).filter((name) => name.includes("_"));

// What V8's messages say a trap was: the texts of its runtime errors, in the words of docs/determinism.md.
const TRAPS = [
  [/unreachable/, "unreachable"],
  [/memory access out of bounds/, "memory_out_of_bounds"],
  [/table index is out of bounds|table access out of bounds|element segment out of bounds|table .*out of bounds/, "table_out_of_bounds"],
  [/data segment .*out of bounds/, "memory_out_of_bounds"],
  [/divide by zero|remainder by zero/, "integer_division_by_zero"],
  [/divide result unrepresentable/, "integer_overflow"],
  [/float unrepresentable in integer range/, "integer_overflow"],
  [/rethrowing null value/, "null_reference"],
  [/function signature mismatch/, "bad_signature"],
];

/** Return what ended a guest, from what was thrown: { kind, code, trap, detail }. */
function explain(thrown) {
  if (thrown instanceof Ended) return { kind: thrown.kind, code: thrown.code, trap: "", detail: "" };
  const message = String(thrown?.message ?? thrown);
  if (thrown instanceof WebAssembly.RuntimeError) {
    const found = TRAPS.find(([pattern]) => pattern.test(message));
    if (found) return { kind: "trapped", code: 0, trap: found[1], detail: "" };
  }
  if (thrown instanceof RangeError && /call stack/i.test(message)) {
    return { kind: "trapped", code: 0, trap: "stack_exhausted", detail: "" };
  }
  return { kind: "system_error", code: 0, trap: "", detail: message };
}

export {
  BADF, Ended, Errno, FUNCTIONS, Host, INVAL, NOTCAPABLE, NOTDIR, NOTSOCK, RIGHT_FD_READ, RIGHT_FD_WRITE, RIGHT_POLL,
  SeededRandom, VirtualClock, explain, sha256,
};
