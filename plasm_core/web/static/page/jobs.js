/** The place of jobs: a list that keeps up with their changes, and the one that was chosen. */

import { isLive } from "../sdk/index.js";
import { alertOf, fill, h } from "./dom.js";
import { ago, count, ends, moment } from "./format.js";
import { jobView } from "./job.js";

const PAGE = 100;
const STATES = {
  QUEUED: ["○", "waits"], INITIALIZING: ["◔", "starts"], RUNNING: ["◑", "runs"], COMPLETE: ["●", "complete"],
  EXECUTOR_ERROR: ["✕", "failed"], SYSTEM_ERROR: ["✕", "node failed"], CANCELED: ["–", "cancelled"], UNKNOWN: ["?", "unknown"],
};
const TONES = { COMPLETE: "good", EXECUTOR_ERROR: "bad", SYSTEM_ERROR: "bad", UNKNOWN: "warn" };

/** A job's state in a few words, with its place in the queue and why it waits. */
export function stateWords(job) {
  const [, word] = STATES[job.state] ?? ["?", job.state];
  const { outcome } = job;
  if (job.state === "QUEUED") {
    const place = job.position === undefined ? "" : `, ${count(job.position)}${["th", "st", "nd", "rd"][job.position % 100 > 10 && job.position % 100 < 14 ? 0 : job.position % 10] ?? "th"} in the queue`;
    return `waits${place}${job.waiting ? `: ${job.waiting}` : ""}`;
  }
  if (job.state === "EXECUTOR_ERROR" && outcome) {
    if (outcome.kind === "exited") return `failed: exit code ${outcome.code}`;
    return `failed: ${(outcome.trap ?? outcome.kind).replaceAll("_", " ")}`;
  }
  return word;
}

/** The sign of a state. It says nothing that the words beside it do not. */
export function stateSign(job) {
  return h("span", { class: `sign ${TONES[job.state] ?? ""}`, "aria-hidden": "true" }, STATES[job.state]?.[0] ?? "?");
}

export function jobsPlace(app, chosen) {
  const jobs = new Map(), ending = new AbortController();
  const list = h("ul", { class: "jobs" }), about = h("section", { class: "about", "aria-label": "The chosen job" });
  const note = h("div"), more = h("button", { type: "button", hidden: true, on: { click: () => void load(next) } }, "Earlier jobs");
  const split = h("div", { class: "split" }, h("div", { class: "list" }, note, list, more), about);
  const element = h(
    "div", {},
    h("div", { class: "head" }, h("h1", {}, "Jobs"), h("a", { class: "button first push", href: "#/new" }, "New job")),
    split,
  );
  let next, view, loaded = false;

  const line = (job) => {
    const made = h(
      "a", { href: `#/jobs/${job.jobId}`, class: isLive(job) ? "live" : "", ...(job.jobId === chosen ? { "aria-current": "true" } : {}) },
      stateSign(job),
      h("span", { class: "name" }, job.name),
      h("span", { class: "when" }, h("time", { datetime: job.submittedAt, title: moment(job.submittedAt) }, ago(job.submittedAt))),
      h("span", { class: "what" }, stateWords(job), h("span", { class: "mono" }, ` ${ends(job.jobId, 4)}`)),
    );
    return h("li", { "data-job": job.jobId }, made);
  };

  const put = (job) => {
    jobs.set(job.jobId, job);
    const made = line(job), there = list.querySelector(`[data-job="${job.jobId}"]`);
    if (there) {
      const focused = there.contains(document.activeElement);
      there.replaceWith(made);
      if (focused) made.querySelector("a").focus();
      return;
    }
    const after = [...list.children].find((item) => jobs.get(item.dataset.job).submittedAt <= job.submittedAt);
    list.insertBefore(made, after ?? null);
  };

  const empty = () => {
    if (jobs.size > 0) fill(note);
    else if (loaded) {
      fill(note, h("p", { class: "muted" }, "No jobs yet. ", h("a", { href: "#/new" }, "Drop a module in"), " to run the first."));
    }
  };

  const load = async (before) => {
    try {
      const found = await app.client.list({ limit: PAGE, ...(before ? { before } : {}), signal: ending.signal });
      found.jobs.forEach(put);
      next = found.next;
      more.hidden = next === undefined;
      loaded = true;
      empty();
    } catch (error) {
      if (!ending.signal.aborted && jobs.size === 0) fill(note, alertOf(error));
    }
  };

  const follow = async () => {
    try {
      for await (const change of app.client.changes({ signal: ending.signal })) {
        if (change.type === "connected") await load();
        else if (change.type === "status") {
          put(change.job);
          empty();
        }
      }
    } catch (error) {
      if (!ending.signal.aborted) fill(note, alertOf(error));
    }
  };

  const choose = (jobId) => {
    chosen = jobId;
    view?.leave();
    view = undefined;
    split.classList.toggle("chosen", jobId !== "");
    for (const link of list.querySelectorAll("a")) {
      if (link.hash === `#/jobs/${jobId}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (jobId === "") fill(about, h("p", { class: "muted" }, "Choose a job to see its output and its receipt."));
    else {
      view = jobView(app, jobId, put);
      fill(about, view.element);
    }
    about.hidden = jobId === "" && jobs.size === 0 && matchMedia("(max-width: 64rem)").matches;
  };

  // Times pass.
  const timer = setInterval(() => {
    for (const time of list.querySelectorAll("time")) time.textContent = ago(time.dateTime);
  }, 15_000);
  choose(chosen);
  void follow();
  return {
    element,
    stay(jobId) {
      choose(jobId);
      return true;
    },
    again: () => view?.again(),
    leave() {
      clearInterval(timer);
      ending.abort();
      view?.leave();
    },
  };
}
