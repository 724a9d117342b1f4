/** The place where a module is dropped in and submitted. */

import { DEFAULT_LIMITS, digestAsync, inputBytes, JobTree, Manifest, meter } from "../sdk/index.js";
import { alertOf, fill, h } from "./dom.js";
import { dropped, filesField } from "./files.js";
import { count, readCount, readSize, size } from "./format.js";
import { keep } from "./inputs.js";

const LOOKED_INTO_BYTES = 4 << 20;

const lines = (text) => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));

function field(label, input, note) {
  const id = `field-${label.replaceAll(/\W+/g, "-")}`;
  input.id = id;
  if (note) input.setAttribute("aria-describedby", `${id}-note`);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, note && h("p", { class: "note", id: `${id}-note` }, note));
}

export function newPlace(app) {
  let module, about = "", chosenName = "module.wasm";
  const found = h("p", { class: "note", role: "status" }), problem = h("div");
  const file = h("input", { type: "file", id: "module", accept: ".wasm,application/wasm", on: { change: () => void take(file.files[0]) } });
  const given = filesField();
  /** A module that is dropped is the job's module; what else is dropped is its files. */
  const droppable = (area) => {
    area.addEventListener("dragover", (event) => {
      event.preventDefault();
      area.classList.add("over");
    });
    area.addEventListener("dragleave", () => area.classList.remove("over"));
    area.addEventListener("drop", async (event) => {
      event.preventDefault();
      area.classList.remove("over");
      try {
        const found = await dropped(event.dataTransfer), isModule = ([path]) => /^[^/]+\.wasm$/.test(path);
        const chosen = area === drop ? found.find(isModule) ?? (found.length === 1 ? found[0] : undefined) : undefined;
        if (chosen?.[1]) await take(chosen[1]);
        given.add(found.filter((each) => each !== chosen));
      } catch (error) {
        fill(problem, alertOf(error));
      }
    });
    return area;
  };
  const drop = h(
    "div", { class: "drop" },
    h("label", { for: "module" }, "Drop a WebAssembly module here, or choose one"),
    file, found,
  );
  droppable(drop);
  droppable(given.element);
  const kept = h("textarea", { spellcheck: "false", rows: "3", placeholder: "out/" });
  const args = h("textarea", { spellcheck: "false", rows: "3" }), env = h("textarea", { spellcheck: "false", rows: "3" });
  const stdin = h("textarea", { spellcheck: "false", rows: "4" }), stdinFile = h("input", { type: "file" });
  const gas = h("input", { value: count(DEFAULT_LIMITS.gas), inputmode: "numeric" });
  const memory = h("input", { value: size(DEFAULT_LIMITS.memoryBytes) }), output = h("input", { value: size(DEFAULT_LIMITS.outputBytes) });
  const wall = h("input", { value: "60", inputmode: "numeric" });
  const entry = h("input", { spellcheck: "false", on: { change: () => look() } });
  const send = h("button", { class: "first", type: "submit" }, "Run");

  const take = async (chosen) => {
    if (chosen === undefined) return;
    module = new Uint8Array(await chosen.arrayBuffer());
    chosenName = chosen.name;
    fill(problem);
    const digest = await digestAsync(module);
    about = `${chosen.name}: ${size(module.length)}, SHA-256 ${digest.slice(0, 16)}…`;
    look();
  };

  /** Say whether nodes would run the module, before it is sent. */
  const look = () => {
    if (module === undefined) return;
    if (module.length > LOOKED_INTO_BYTES) { // it would hold the page up for seconds
      fill(found, about);
      return;
    }
    try {
      meter(module, entry.value || undefined);
      fill(found, about, h("span", { class: "good" }, " ✓ may run"));
    } catch (error) {
      fill(found, about, h("span", { class: "warn" }, ` ! ${error.message}`));
    }
  };

  const submit = async (event) => {
    event.preventDefault();
    fill(problem);
    send.disabled = true;
    try {
      if (module === undefined) {
        file.focus();
        throw new RangeError("there is no module yet: choose a .wasm file");
      }
      const text = stdinFile.files[0];
      const input = inputBytes({
        args: lines(args.value), env: lines(env.value),
        stdin: text === undefined ? stdin.value : new Uint8Array(await text.arrayBuffer()),
      });
      const terms = {
        limits: { gas: readCount(gas.value, "gas"), memoryBytes: readSize(memory.value, "memory"), outputBytes: readSize(output.value, "output") },
        wallTimeS: readCount(wall.value, "wall time"),
        entry: entry.value || undefined,
      };
      const outputs = lines(kept.value).filter(Boolean);
      const tree = given.files.size + outputs.length > 0 ? await JobTree.of(given.files, { outputs }) : undefined;
      const whole = { ...input, files: tree }, manifest = await Manifest.of(module, whole, terms);
      await keep(manifest.jobId, module, { ...input, ...(tree && { pack: tree.pack() }) });
      const job = await app.client.send(manifest, whole, { name: chosenName }, module);
      location.hash = `#/jobs/${job.jobId}`;
    } catch (error) {
      fill(problem, alertOf(error));
      send.disabled = false;
    }
  };

  const element = h(
    "div", {},
    h("div", { class: "head" }, h("h1", {}, "New job")),
    h(
      "form", { class: "form", on: { submit: (event) => void submit(event) } },
      drop, given.element,
      field("Outputs", kept, "Files and directories of the job that are kept, one a line. A slash at the end makes the directory: out/"),
      h("div", { class: "two" }, field("Arguments", args, "One a line."), field("Environment", env, "NAME=value, one a line.")),
      h("div", { class: "two" }, field("Standard input", stdin), field("Standard input from a file", stdinFile, "In place of the text.")),
      h(
        "details", {},
        h("summary", {}, "Limits and entry"),
        h(
          "div", { class: "four" },
          field("Gas", gas, "Counted instructions."), field("Memory", memory), field("Output", output, "stdout and stderr, each."),
          field("Wall time", wall, "Seconds."), field("Entry", entry, "An export, in place of _start."),
        ),
      ),
      problem,
      h("div", { class: "acts" }, send),
    ),
  );
  return { element, stay: () => true }; // what was filled in stays, however often the place is shown
}
