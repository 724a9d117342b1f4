/** The place where a module is dropped in and submitted. */

import { DEFAULT_LIMITS, digestAsync, inputBytes, Manifest, meter } from "../sdk/index.js";
import { alertOf, fill, h } from "./dom.js";
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
  const drop = h(
    "div", {
      class: "drop",
      on: {
        dragover(event) {
          event.preventDefault();
          drop.classList.add("over");
        },
        dragleave: () => drop.classList.remove("over"),
        drop(event) {
          event.preventDefault();
          drop.classList.remove("over");
          void take(event.dataTransfer.files[0]);
        },
      },
    },
    h("label", { for: "module" }, "Drop a WebAssembly module here, or choose one"),
    file, found,
  );
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
      const given = stdinFile.files[0];
      const input = inputBytes({
        args: lines(args.value), env: lines(env.value),
        stdin: given === undefined ? stdin.value : new Uint8Array(await given.arrayBuffer()),
      });
      const terms = {
        limits: { gas: readCount(gas.value, "gas"), memoryBytes: readSize(memory.value, "memory"), outputBytes: readSize(output.value, "output") },
        wallTimeS: readCount(wall.value, "wall time"),
        entry: entry.value || undefined,
      };
      const manifest = await Manifest.of(module, input, terms);
      await keep(manifest.jobId, module, input);
      const job = await app.client.send(manifest, input, { name: chosenName }, module);
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
      drop,
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
