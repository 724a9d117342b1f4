/** A receipt in plain words, what was verified of it here, and the button that runs the job again. */

import { describeOutcome, engineName, JobTree, PlasmError, reexecute } from "../sdk/index.js";
import { fill, h, saving } from "./dom.js";
import { count, duration, ends, moment, size } from "./format.js";
import { kept } from "./inputs.js";

const NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** What the receipt says, as a sentence that anyone can read. */
export function statement(receipt) {
  const { outcome, gasUsed, stdout, stderr, node, files } = receipt;
  const left = files.map(({ path, kind }, index) => [index > 0 ? ", " : "", h("span", { class: "mono" }, kind === "tree" ? `${path}/` : path)]);
  const wrote = ({ sizeBytes }, name) => (sizeBytes === 0n ? `nothing to ${name}` : `${size(sizeBytes)} to ${name}`);
  const how = {
    exited: `the job exited with code ${outcome.code}`, trapped: `the job trapped (${String(outcome.trap).replaceAll("_", " ")})`,
    out_of_gas: "the job ran out of gas", output_limit: "the job reached its output limit",
    timed_out: "the job exceeded its wall time", cancelled: "the job was cancelled",
  }[outcome.kind] ?? `the job ended: ${describeOutcome(outcome)}`;
  return h(
    "p", { class: "statement" },
    "Node ", h("span", { class: "mono", title: String(node) }, ends(String(node), 8)),
    ` signed that ${how}, used ${count(gasUsed)} gas, ${files.length > 0 ? "" : "and "}wrote ${wrote(stdout, "stdout")} and ${wrote(stderr, "stderr")}`,
    files.length > 0 && [", and left the ", files.length === 1 ? "output " : "outputs ", left], ".",
  );
}

const FACTS = {
  signature: "The signature is that of the node’s key (Ed25519).",
  job: "The job id is that of the manifest that was sent.",
  task: "The task digest is that of its program, input and limits.",
  module: "The module is the one that you gave.",
  stdout: "stdout, as it was downloaded here, has the digest and size that the node signed.",
  stderr: "stderr, as it was downloaded here, has the digest and size that the node signed.",
};

/** The list of facts that verification established. */
export function facts({ established, receipt }, standing, listed = false) {
  const whose = {
    own: "The node is the one that this server belongs to.",
    named: "The node is one that you named.",
    stranger: "The node is one that you do not know.",
  }[standing];
  const item = (text, tone = "good", sign = "✓") =>
    h("li", {}, h("span", { class: tone, "aria-hidden": "true" }, sign), h("span", {}, text));
  return h(
    "ul", { class: "checks" },
    Object.keys(FACTS).filter((name) => established.includes(name)).map((name) => item(FACTS[name])),
    item("The receipt does not contradict itself."),
    listed && receipt.files.length > 0 && item("The list of files is the one that the node signed; each file is compared when it is downloaded."),
    whose && item(whose, standing === "stranger" ? "warn" : "good", standing === "stranger" ? "!" : "✓"),
  );
}

/** The node's claims, which nobody can check. */
export function claims({ claims: said, asked }) {
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  const at = (micros) => moment(Number(micros / 1000n));
  return h(
    "details", {},
    h("summary", {}, "Only the node’s word: times, memory, engine; and the task by its digests"),
    h(
      "dl", { class: "facts" },
      fact("started", at(said.startedAt)),
      fact("wall time", duration(Number(said.wallTimeMs) / 1000)),
      fact("processor time", duration(Number(said.cpuTimeMs) / 1000)),
      fact("peak memory", size(said.peakMemoryBytes)),
      fact("engine", `${said.runtime.name} ${said.runtime.version}`),
      fact("task digest", h("span", { class: "mono" }, asked.taskDigest)),
      fact("module", h("span", { class: "mono" }, asked.module)),
      fact("limits", `${count(asked.limits.gas)} gas, ${size(asked.limits.memoryBytes)} of memory, ${size(asked.limits.outputBytes)} of each output`),
      asked.files === undefined ? [] : [
        fact("input files", h("span", { class: "mono" }, asked.files.tree)),
        fact("read-only", asked.files.readOnly.join(", ") || "none"),
        fact("outputs", asked.files.outputs.join(", ") || "none"),
      ],
      asked.capabilities.length > 0 ? fact("grants", asked.capabilities.join(", ")) : [],
    ),
  );
}

/** The whole block for a verified result. */
export function receiptBlock(app, result) {
  const { receipt, verification, standing, envelopeJson, job } = result;
  const again = h("div", { class: "verdict", role: "status" });
  const button = h("button", { type: "button", on: { click: () => void run() } }, "Re-execute here");
  const run = async () => {
    button.disabled = true;
    fill(again, h("span", { class: "muted" }, `Running on ${engineName()} …`));
    try {
      const { module, input } = await inputsOf(app, job.jobId, receipt);
      const { decision, words } = await reexecute(receipt, module, input);
      const [tone, sign] = { accept: ["good", "✓"], reject: ["bad", "✕"], undecided: ["warn", "?"] }[decision];
      fill(again, h("span", { class: tone, "aria-hidden": "true" }, sign), h("span", {}, words));
    } catch (error) {
      fill(again, h("span", { class: "warn", "aria-hidden": "true" }, "?"), h("span", {}, `not re-executed: ${error.message}`));
    }
    button.disabled = false;
  };
  const element = h(
    "section", { class: "block" },
    h("h2", {}, "Receipt"),
    statement(receipt),
    h("p", { class: "verdict" }, h("span", { class: "good", "aria-hidden": "true" }, "✓"), h("strong", { class: "good" }, "verified"), h("span", { class: "muted" }, "in this browser")),
    facts(verification, standing, true),
    h("div", { class: "acts" }, button, saving(envelopeJson, `${job.jobId.slice(0, 12)}.receipt.json`, "Save the receipt", "application/json")),
    again,
    claims(receipt),
  );
  return { element };
}

/** A job's module and input: what this browser sent, or what the server keeps and needs no input. */
async function inputsOf(app, jobId, receipt) {
  const own = await kept(jobId);
  if (own !== undefined) {
    const { pack, ...input } = own.input;
    return { module: own.module, input: pack === undefined ? input : { ...input, files: await JobTree.fromPack(pack) } };
  }
  const { asked } = receipt, missing = ["args", "env", "stdin"].filter((name) => asked[name] !== NOTHING);
  if (asked.files !== undefined) missing.push("files");
  if (missing.length > 0) {
    throw new PlasmError(`this browser did not send the job, and has only the digests of its ${missing.join(", ")}`);
  }
  return { module: await app.client.module(asked.module), input: {} };
}
