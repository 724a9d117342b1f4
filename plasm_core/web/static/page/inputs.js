/** What this browser sent with its jobs, kept so that they can be re-executed after the page was left: IndexedDB. */

const MOST_JOBS = 100, MOST_BYTES = 64 << 20;

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });

async function store(mode) {
  const opening = indexedDB.open("plasm", 1);
  opening.addEventListener("upgradeneeded", () => opening.result.createObjectStore("inputs", { keyPath: "jobId" }));
  const database = await asked(opening);
  return database.transaction("inputs", mode).objectStore("inputs");
}

const bytesOf = ({ module, input }) => module.length + input.stdin.length + (input.pack?.size ?? 0);

/**
 * Keep a job's module and input, if they are not too large. A browser that keeps nothing is no failure.
 *
 * `input`: args, env, stdin, and the pack of the input files if there are any.
 */
export async function keep(jobId, module, input) {
  try {
    if (bytesOf({ module, input }) > MOST_BYTES) return;
    const inputs = await store("readwrite");
    inputs.put({ jobId, module, input, at: Date.now() });
    const all = await asked(inputs.getAll());
    let bytes = 0;
    all.sort((one, other) => other.at - one.at).forEach((each, index) => {
      bytes += bytesOf(each);
      if (index >= MOST_JOBS || (bytes > MOST_BYTES && each.jobId !== jobId)) inputs.delete(each.jobId);
    });
  } catch {
    // A private window, or a full disk.
  }
}

/** A job's module and input, or undefined. */
export async function kept(jobId) {
  try {
    return await asked((await store("readonly")).get(jobId));
  } catch {
    return undefined;
  }
}
