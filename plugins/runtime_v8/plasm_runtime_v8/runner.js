// Runs one job on V8: what Python evaluates behind wasi.mjs. `shared` and `doorbell` are Python's.
globalThis.plasm = (() => {
  const HEAD_BYTES = 24;
  const STDOUT = 1, STDIN = 3, MONOTONIC = 4, REALTIME = 5, SLEEP = 6, RANDOM = 7;
  const PACK = 8, ENTRY = 9, DATA = 10, ENTRY_HEAD_BYTES = 13;
  const ring = globalThis.doorbell;
  const head = new DataView(shared), data = new Uint8Array(shared, HEAD_BYTES);
  let code, module;

  const ask = (request, length) => {
    head.setUint32(0, request, true);
    head.setUint32(4, length, true);
    ring();
    if (head.getUint32(0, true) !== request) throw new Error("the worker failed");
  };
  const unhex = (text) => Uint8Array.from({ length: text.length / 2 }, (_, i) => parseInt(text.substr(2 * i, 2), 16));

  /** The gas counter for the host, whose changes Python sees while the guest runs. */
  const noted = (gas) => ({
    get value() {
      return gas.value;
    },
    set value(left) {
      gas.value = left;
      head.setBigInt64(16, left, true);
    },
  });

  class RealClock {
    constructor() {
      ask(REALTIME, 0);
      this.real = head.getBigUint64(8, true);
    }

    startOf(clock) {
      return clock === CLOCK_REALTIME ? this.real : 0n;
    }

    read(clock) {
      return this.startOf(clock) + this.now();
    }

    now() {
      ask(MONOTONIC, 0);
      return head.getBigUint64(8, true);
    }

    waitUntil(deadline) {
      for (let left; (left = deadline - this.now()) > 0n; ) {
        head.setBigUint64(8, left, true);
        ask(SLEEP, 0);
      }
    }
  }

  const eachPart = (target, take) => {
    for (let done = 0; done < target.length; ) done += take(target.subarray(done, done + data.length));
  };
  const io = {
    write(stream, bytes) {
      eachPart(bytes, (part) => {
        data.set(part);
        ask(STDOUT + stream - 1, part.length);
        return part.length;
      });
    },
    read(target) {
      eachPart(target, (part) => {
        ask(STDIN, part.length);
        const length = head.getUint32(4, true);
        part.set(data.subarray(0, length));
        return length;
      });
    },
  };
  const realRandom = {
    fill(target) {
      eachPart(target, (part) => {
        ask(RANDOM, part.length);
        part.set(data.subarray(0, part.length));
        return part.length;
      });
    },
  };

  const readPack = (offset, target) => {
    eachPart(target, (part) => {
      head.setBigUint64(8, BigInt(offset), true);
      ask(PACK, part.length);
      part.set(data.subarray(0, part.length));
      offset += part.length;
      return part.length;
    });
  };
  const left = {
    entry(position, kind, size, path) {
      const body = new DataView(data.buffer, data.byteOffset);
      body.setUint32(0, position, true);
      body.setUint8(4, kind);
      body.setBigUint64(5, BigInt(size), true);
      data.set(path, ENTRY_HEAD_BYTES);
      ask(ENTRY, ENTRY_HEAD_BYTES + path.length);
    },
    data(bytes) {
      eachPart(bytes, (part) => {
        data.set(part);
        ask(DATA, part.length);
        return part.length;
      });
    },
  };
  const withFiles = (host, { listingBytes, readOnly, outputs, limits }) => {
    const listing = new Uint8Array(listingBytes), text = (item) => textOf(unhex(item));
    readPack(0, listing);
    const job = { listing, readOnly: readOnly.map(text), outputs: outputs.map(text), limits };
    const files = new Files(host, job, (offset, target) => readPack(listingBytes + offset, target));
    host.takeFiles(files);
    return files;
  };

  return {
    buffer(size) {
      code = new SharedArrayBuffer(size);
      return code;
    },

    compile() {
      const copy = new Uint8Array(code.byteLength); // a module is made of memory that nobody else can change
      copy.set(new Uint8Array(code));
      code = undefined;
      module = new WebAssembly.Module(copy);
    },

    run(job) {
      const host = new Host(
        { ...job, args: job.args.map(unhex), env: job.env.map(unhex), seed: unhex(job.seed) },
        {
          ...io,
          clock: job.realClock ? new RealClock() : undefined,
          random: job.realRandom ? realRandom : undefined,
        },
      );
      const files = job.files ? withFiles(host, job.files) : null;
      let exports, end;
      try {
        exports = new WebAssembly.Instance(module, { wasi_snapshot_preview1: host.imports }).exports;
      } catch (error) {
        return ["system_error", 0, "", 0, 0, String(error?.message ?? error)].join("\t");
      }
      exports[job.names.gas].value = job.gas;
      exports[job.names.pages].value = job.pages;
      host.attach(exports.memory, noted(exports[job.names.gas]));
      try {
        if (job.hasStart) exports[job.names.start]();
        exports._start();
        const code = job.names.exit ? exports[job.names.exit].value >>> 0 : 0;
        end = { kind: "exited", code, trap: "", detail: "" };
      } catch (thrown) {
        end = explain(host.thrown ?? thrown);
      }
      if (files && end.kind !== "system_error") files.collect(left);
      return [
        end.kind, end.code, end.trap, exports[job.names.gas].value, exports[job.names.fault].value, end.detail,
      ].join("\t");
    },
  };
})();
