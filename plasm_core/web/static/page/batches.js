/** The place of batches: each as a grid with a cell a job, and the results of the jobs, verified here. */

import { describeOutcome, fromUtf8, goesOn } from "../sdk/index.js";
import { alertOf, fill, h, saving } from "./dom.js";
import { ago, count, ends, moment, several } from "./format.js";
import { leftBlock } from "./left.js";

const LOOK_MS = 1000, MOST_CELLS = 2000;
const WORDS = {
  waiting: "waits", sent: "is at the node", succeeded: "succeeded", failed: "failed", error: "has no receipt", cancelled: "was cancelled",
};
const STATES = { waiting: ["○", "waits"], running: ["◑", "runs"], ended: ["●", "ended"], cancelled: ["–", "cancelled"], failed: ["✕", "given up"] };

/** A batch's state in a few words. */
function stateWords({ state, jobs, counts }) {
  const ended = counts.succeeded + counts.failed + counts.error + counts.cancelled, bad = ended - counts.succeeded;
  return `${STATES[state]?.[1] ?? state}: ${count(ended)} of ${several(jobs, "job")}${bad > 0 ? `, ${count(bad)} without success` : ""}`;
}

export function batchesPlace(app, chosen) {
  const ending = new AbortController(), list = h("ul", { class: "jobs" }), note = h("div");
  const about = h("section", { class: "about", "aria-label": "The chosen batch" });
  const split = h("div", { class: "split" }, h("div", { class: "list" }, note, list), about);
  const element = h("div", {}, h("div", { class: "head" }, h("h1", {}, "Batches")), split);
  let view, timer, shown = "";

  const line = (batch) => h("li", {}, h(
    "a", { href: `#/batches/${batch.batchId}`, class: goesOn(batch) ? "live" : "", ...(batch.batchId === chosen ? { "aria-current": "true" } : {}) },
    h("span", { class: `sign ${batch.state === "failed" ? "bad" : ""}`, "aria-hidden": "true" }, STATES[batch.state]?.[0] ?? "?"),
    h("span", { class: "name" }, batch.name),
    h("span", { class: "when" }, h("time", { datetime: batch.createdAt, title: moment(batch.createdAt) }, ago(batch.createdAt))),
    h("span", { class: "what" }, stateWords(batch)),
  ));

  const look = async () => {
    clearTimeout(timer);
    try {
      const batches = await app.client.batches.list({ signal: ending.signal }), now = JSON.stringify([batches, chosen]);
      if (now !== shown) {
        const focused = document.activeElement?.closest?.(".jobs a")?.hash;
        shown = now;
        fill(list, batches.map(line));
        if (focused) list.querySelector(`a[href="${focused}"]`)?.focus();
      }
      fill(note, batches.length > 0 ? undefined : h(
        "p", { class: "muted" }, "No batches yet. Send many jobs of one module in one request: ", h("code", {}, "POST /v1/batches"), ".",
      ));
      await view?.look();
    } catch (error) {
      if (!ending.signal.aborted) fill(note, alertOf(error));
    }
    if (!ending.signal.aborted) timer = setTimeout(() => void look(), LOOK_MS);
  };

  const choose = (batchId) => {
    chosen = batchId;
    split.classList.toggle("chosen", batchId !== "");
    view = batchId === "" ? undefined : batchView(app, batchId, ending.signal);
    fill(about, view?.element ?? h("p", { class: "muted" }, "Choose a batch to see its jobs."));
    void look();
  };

  choose(chosen);
  return {
    element,
    stay(batchId) {
      choose(batchId);
      return true;
    },
    again: () => void look(),
    leave() {
      clearTimeout(timer);
      ending.abort();
    },
  };
}

/** One batch: its state, the grid, and the job that was chosen in it. */
function batchView(app, batchId, signal) {
  const title = h("h2"), state = h("p", { class: "state", "aria-live": "polite" }), problem = h("div"), grid = h("div"), acts = h("div", { class: "acts" });
  const job = h("div", { class: "batch-job", "aria-live": "polite" });
  const element = h("div", { class: "batch" }, title, state, problem, grid, acts, job);
  let before = "";

  const cancel = h("button", { type: "button", on: { click: () => void act(() => app.client.batches.cancel(batchId, { signal })) } }, "Cancel");
  const act = async (doing) => {
    try {
      await doing();
      await look();
    } catch (error) {
      if (!signal.aborted) fill(problem, alertOf(error));
    }
  };

  const look = async () => {
    const batch = await app.client.batches.show(batchId, { signal }), now = JSON.stringify(batch);
    if (now === before) return;
    const jobs = [];
    for await (const item of app.client.batches.jobs(batchId, { signal })) if (jobs.push(item) >= MOST_CELLS) break;
    before = now;
    fill(title, `${batch.name} `, h("span", { class: "mono muted" }, ends(batchId, 4)));
    fill(state, stateWords(batch));
    fill(problem, batch.problem && h("div", { class: "alert" }, h("p", {}, batch.problem)));
    fill(grid, cells(jobs), batch.jobs > jobs.length && h("p", { class: "note" }, `and ${several(batch.jobs - jobs.length, "more job")}`));
    fill(acts, goesOn(batch) && cancel);
  };

  const cells = (jobs) => {
    const focused = document.activeElement?.dataset?.number;
    const made = h("div", { class: "cells large", role: "group", "aria-label": "Jobs" }, jobs.map((item) => h("button", {
      type: "button", class: `cell ${item.state}`, "data-number": item.number, title: `${item.number}: ${item.input}`,
      "aria-label": `Job ${item.number} ${WORDS[item.state] ?? item.state}`, on: { click: () => void show(item) },
    })));
    if (focused) queueMicrotask(() => made.querySelector(`[data-number="${focused}"]`)?.focus());
    return made;
  };

  const show = async (item) => {
    const words = item.outcome ? describeOutcome(item.outcome) : WORDS[item.state];
    const head = [h("h3", {}, `Job ${count(item.number)}`), h("p", { class: "muted" }, item.input), h("p", {}, item.reason ?? words)];
    fill(job, head);
    if (item.outcome === undefined) return;
    try {
      const node = app.node?.peerId ?? item.node;
      const result = await app.client.batches.result(batchId, item.number, [node], { signal });
      fill(
        job, head,
        h("p", { class: "good" }, `receipt verified ✓ signed by ${result.receipt.node}`),
        h("pre", { class: "output", tabindex: "0", role: "region", "aria-label": "stdout", "data-empty": "nothing" }, text(result.stdout)),
        leftBlock(result, signal),
        h("div", { class: "acts" }, saving(result.envelopeJson, `job-${item.number}.receipt.json`, "Save the receipt", "application/json"),
          saving(result.stdout, `job-${item.number}.stdout`, "Save stdout")),
      );
    } catch (error) {
      if (!signal.aborted) fill(job, head, alertOf(error));
    }
  };

  return { element, look };
}

function text(bytes) {
  const shown = bytes.subarray(0, 64 << 10);
  try {
    return fromUtf8(shown);
  } catch {
    return `${bytes.length} bytes that are not text`;
  }
}
