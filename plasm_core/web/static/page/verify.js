/** The place where any receipt, batch or proof can be dropped in and verified, whoever made it. */

import { fromUtf8, hex, leafHash, parseBatch, PeerId, verifyBatch, verifyReceipt } from "../sdk/index.js";
import { alertOf, fill, h } from "./dom.js";
import { count, several, size } from "./format.js";
import { claims, facts, statement } from "./receipt.js";

const MOST_BYTES = 256 << 20, MOST_CELLS = 20_000;

export function verifyPlace(app) {
  const found = h("section", { class: "about", "aria-live": "polite", "aria-label": "What was found" });
  const receipt = h("input", { type: "file", id: "receipt", accept: ".json,application/json", on: { change: () => void check() } });
  const stdout = h("input", { type: "file", id: "stdout", on: { change: () => void check() } });
  const module = h("input", { type: "file", id: "its-module", accept: ".wasm", on: { change: () => void check() } });
  const key = h("input", { id: "key", spellcheck: "false", placeholder: "12D3KooW…", on: { change: () => void check() } });

  const bytesOf = async (input) => {
    const [file] = input.files;
    if (file === undefined) return undefined;
    if (file.size > MOST_BYTES) throw new RangeError(`${file.name} has ${size(file.size)}, more than can be verified here`);
    return new Uint8Array(await file.arrayBuffer());
  };

  const check = async () => {
    try {
      const data = await bytesOf(receipt);
      if (data === undefined) return;
      const trusted = key.value.trim() === "" ? [app.node?.peerId].filter(Boolean) : [key.value.trim()];
      trusted.forEach((text) => PeerId.parse(text));
      const isBatch = /"format"\s*:\s*"plasm\.batch/.test(fromUtf8(data.subarray(0, 4096)));
      fill(found, await (isBatch ? batch(data, trusted) : single(data, trusted)));
    } catch (error) {
      fill(found, alertOf(error));
    }
  };

  const single = async (data, trusted) => {
    const verification = await verifyReceipt(data, { trusted, stdout: await bytesOf(stdout), module: await bytesOf(module) });
    const { decision, receipt: said } = verification;
    return [
      verdict(verification),
      decision === "reject" || said === undefined ? undefined : [
        statement(said),
        facts(verification, decision === "accept" ? undefined : "stranger"),
        claims(said),
      ],
    ];
  };

  const batch = async (data, trusted) => {
    const verification = await verifyBatch(data, trusted.map((text) => PeerId.parse(text)));
    if (verification.decision === "reject") return verdict(verification);
    const document = parseBatch(data), { receipt: said } = document, none = hex(leafHash(new Uint8Array(0)));
    const sentence = h(
      "p", { class: "statement" },
      `A batch of ${several(said.jobs, "job")}: ${count(said.receipts)} with a receipt, ${count(said.succeeded)} succeeded.`,
      document.kind === "proof" ? ` This is job ${count(document.job)} of it.` : "",
    );
    if (document.kind === "proof") return [verdict(verification), sentence, verification.job && statement(verification.job)];
    const cells = document.leaves.slice(0, MOST_CELLS).map((leaf, index) => {
      const there = hex(leaf) !== none;
      return h("span", { class: there ? "there" : "", title: `job ${index}: ${there ? "has a receipt" : "no receipt"}` });
    });
    const left = document.leaves.length - cells.length;
    return [
      verdict(verification), sentence,
      h("div", { class: "cells", role: "img", "aria-label": `${several(said.jobs, "job")}, ${count(said.receipts)} with a receipt` }, cells),
      left > 0 ? h("p", { class: "muted" }, `and ${several(left, "more job")}`) : undefined,
    ];
  };

  const verdict = ({ decision, reasons }) => {
    const [tone, sign, word] = {
      accept: ["good", "✓", "verified"], reject: ["bad", "✕", "rejected"], undecided: ["warn", "?", "undecided"],
    }[decision];
    return h(
      "div", {},
      h("p", { class: "verdict" }, h("span", { class: tone, "aria-hidden": "true" }, sign), h("strong", { class: tone }, word), h("span", { class: "muted" }, "in this browser")),
      reasons.length > 0 ? h("ul", {}, reasons.map((reason) => h("li", {}, reason))) : undefined,
    );
  };

  const row = (id, label, input, note) =>
    h("div", { class: "field" }, h("label", { for: id }, label), input, note && h("p", { class: "note" }, note));
  const element = h(
    "div", {},
    h("div", { class: "head" }, h("h1", {}, "Verify")),
    h(
      "div", { class: "split" },
      h(
        "div", { class: "form list" },
        h("p", {}, "A receipt, a batch or a proof, from anywhere. Nothing leaves this browser."),
        row("receipt", "Receipt, batch.json or proof", receipt),
        row("stdout", "stdout, to compare", stdout, "Of a receipt only."),
        row("its-module", "Module, to compare", module, "Of a receipt only."),
        row("key", "PeerId whose signature counts", key, "This server’s node, if left empty."),
      ),
      found,
    ),
  );
  return { element, stay: () => true };
}
