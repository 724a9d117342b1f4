/** The manifest: what a job computes, by digests only, and what it may use (docs/determinism.md). */
import { hex, littleEndian, unhex, utf8 } from "./bytes.js";
import { digestAsync, encodeTagged, listDigest, sha256 } from "./digest.js";
import { InvalidRecordError, PlasmError } from "./errors.js";
import { Fields } from "./fields.js";
import { DEFAULT_FILE_LIMITS, digestedFiles, readFiles } from "./job-files.js";
import { JobTree } from "./job-tree.js";
import { neededProfile } from "./module-profile.js";
import { parseJson } from "./json.js";
export const MANIFEST_FORMAT = "phase.manifest/v0";
export const PROFILES = ["plasm.det/v1", "plasm.det/v2"];
export const GAS_SCHEDULES = { "plasm.det/v1": "plasm.gas/v1", "plasm.det/v2": "plasm.gas/v2" };
export const CAPABILITIES = ["clock.real", "random.real"];
export const MAX_ENTRY_BYTES = 255;
export const ZERO_SEED = "00".repeat(32);
export const MAX_MANIFEST_BYTES = 65_536;
export const DEFAULT_LIMITS = { gas: 100_000_000_000, memoryBytes: 256 << 20, outputBytes: 64 << 20 };
/** The bytes that the task digest is of. */
export function taskPreimage(task) {
    return encodeTagged([
        ["profile", utf8(task.profile)],
        ["module", unhex(task.module)],
        ["args", unhex(task.args)],
        ["env", unhex(task.env)],
        ["stdin", unhex(task.stdin)],
        ["seed", unhex(task.seed)],
        ["gas", littleEndian(task.limits.gas, 8)],
        ["memory", littleEndian(task.limits.memoryBytes, 8)],
        ["output", littleEndian(task.limits.outputBytes, 8)],
        ["capabilities", utf8([...task.capabilities].sort().join("\n"))],
        ...(task.files === undefined ? [] : digestedFiles(task.files)),
        ...(task.entry === undefined ? [] : [["entry", utf8(task.entry)]]),
    ]);
}
/** The task digest: equal task digests give equal output, exit code and gas. */
export function taskDigest(task) {
    return sha256(taskPreimage(task));
}
/** The job id of a manifest: the digest of its bytes exactly as they were sent. */
export function jobId(manifestJson) {
    return sha256(manifestJson);
}
/** Encode input as bytes. Throws: `PlasmError` on a NUL, or on an environment that is not `NAME=value`. */
export function inputBytes(input) {
    const bytes = (item) => (typeof item === "string" ? utf8(item) : item);
    const listed = Array.isArray(input.env)
        ? input.env
        : Object.entries((input.env ?? {})).map(([name, value]) => `${name}=${value}`);
    const args = (input.args ?? []).map(bytes), env = listed.map(bytes);
    if ([...args, ...env].some((item) => item.includes(0))) {
        throw new PlasmError("args and env must not contain NUL: the job would see them cut short");
    }
    if (env.some((item) => item.indexOf(61) < 1))
        throw new PlasmError("each item of env is NAME=value");
    return { args, env, stdin: bytes(input.stdin ?? new Uint8Array(0)) };
}
/** A job as it is submitted. */
export class Manifest {
    json;
    profile;
    module;
    args;
    env;
    stdin;
    seed;
    limits;
    wallTimeS;
    cpu;
    capabilities;
    attempts;
    nonce;
    files;
    entry;
    constructor(
    /** The bytes that the job id is of. */
    json, profile, module, args, env, stdin, seed, limits, wallTimeS, cpu, capabilities, attempts, nonce, files, entry) {
        this.json = json;
        this.profile = profile;
        this.module = module;
        this.args = args;
        this.env = env;
        this.stdin = stdin;
        this.seed = seed;
        this.limits = limits;
        this.wallTimeS = wallTimeS;
        this.cpu = cpu;
        this.capabilities = capabilities;
        this.attempts = attempts;
        this.nonce = nonce;
        this.files = files;
        this.entry = entry;
    }
    /** Parse a manifest's bytes. Throws: `InvalidRecordError`. */
    static parse(json) {
        const fields = new Fields(parseJson(json, "manifest", MAX_MANIFEST_BYTES), "manifest");
        fields.oneOf("format", MANIFEST_FORMAT);
        const limits = fields.fields("limits"), retry = fields.fields("retry");
        const manifest = new Manifest(Uint8Array.from(json), fields.oneOf("profile", ...PROFILES), fields.digest("module"), fields.digest("args"), fields.digest("env"), fields.digest("stdin"), fields.lowerHex("seed", 32), {
            gas: limits.integer("gas", 1),
            memoryBytes: limits.integer("memory_bytes", 65_536, 2 ** 32),
            outputBytes: limits.integer("output_bytes", 0, 2 ** 40),
        }, fields.integer("wall_time_s", 1, 86_400), fields.integer("cpu", 1, 1024), capabilities(fields), retry.integer("attempts", 1, 100), fields.lowerHex("nonce", 16), fields.has("files") ? readFiles(fields.fields("files"), false) : undefined, readEntry(fields));
        for (const closed of [limits, retry, fields])
            closed.close();
        checkProfile(fields, manifest);
        return manifest;
    }
    /** Make the manifest of a module and its input, with a fresh nonce. Throws: `PlasmError`. */
    static async of(module, input = {}, terms = {}) {
        const { args, env, stdin } = inputBytes(input), limits = { ...DEFAULT_LIMITS, ...terms.limits };
        const tree = await JobTree.from(input), fileLimits = { ...DEFAULT_FILE_LIMITS, ...terms.fileLimits };
        const least = terms.entry === undefined && tree === undefined ? neededProfile(module) : PROFILES[1];
        const files = tree && {
            tree: tree.digest,
            read_only: [...tree.readOnly].sort(),
            outputs: [...tree.outputs].sort(),
            limits: { data_bytes: fileLimits.dataBytes, entries: fileLimits.entries, descriptors: fileLimits.descriptors },
        };
        return Manifest.parse(utf8(JSON.stringify({
            format: MANIFEST_FORMAT,
            profile: terms.profile ?? least,
            module: await digestAsync(module),
            args: listDigest(args),
            env: listDigest(env),
            stdin: await digestAsync(stdin),
            seed: terms.seed ?? ZERO_SEED,
            limits: { gas: limits.gas, memory_bytes: limits.memoryBytes, output_bytes: limits.outputBytes },
            wall_time_s: terms.wallTimeS ?? 60,
            cpu: terms.cpu ?? 1,
            capabilities: [...new Set(terms.grants ?? [])].sort(),
            retry: { attempts: terms.attempts ?? 3 },
            ...(files === undefined ? {} : { files }),
            ...(terms.entry === undefined ? {} : { entry: terms.entry }),
            nonce: terms.nonce ?? hex(crypto.getRandomValues(new Uint8Array(16))),
        })));
    }
    get jobId() {
        return jobId(this.json);
    }
    get taskDigest() {
        return taskDigest(this);
    }
}
/** Read the field `capabilities`. */
export function capabilities(fields) {
    const accepts = (text) => CAPABILITIES.includes(text);
    return fields.distinct("capabilities", CAPABILITIES.length, accepts, `names out of ${CAPABILITIES.join(", ")}`);
}
/** Read the field `entry`, if there is one: the name of an export. */
export function readEntry(fields) {
    if (!fields.has("entry"))
        return undefined;
    const name = fields.text("entry", /^[^\x00-\x1f\x7f]+$/u, MAX_ENTRY_BYTES);
    if (utf8(name).length > MAX_ENTRY_BYTES || name === "_start" || name === "_initialize") {
        fields.fail("entry", `expected the name of an export of at most ${MAX_ENTRY_BYTES} bytes, other than _start and _initialize`);
    }
    return name;
}
/** Refuse files and an entry outside the profile that has them. A module may need that profile without them. */
export function checkProfile(fields, { profile, files, entry }) {
    if (profile === PROFILES[0] && (files !== undefined || entry !== undefined)) {
        throw new InvalidRecordError(fields.record, fields.where("profile"), `files and an entry go with the profile ${PROFILES[1]}`);
    }
}
