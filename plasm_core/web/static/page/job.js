/** One job: state, output as it comes, and its receipt. */

import { isLive, JobFollower, ReceiptRejectedError } from "../sdk/index.js";
import { alertOf, fill, h, saving, say } from "./dom.js";
import { duration, ends, moment, shown, size } from "./format.js";
import { leftBlock } from "./left.js";
import { stateSign, stateWords } from "./jobs.js";
import { receiptBlock } from "./receipt.js";

const STREAMS = ["stdout", "stderr"];

export function jobView(app, jobId, told) {
  const title = h("h2", {}), facts = h("dl", { class: "facts" }), acts = h("div", { class: "acts" });
  const problem = h("div"), left = h("div"), receipt = h("div"), ending = new AbortController();
  const outputs = Object.fromEntries(STREAMS.map((stream) => [stream, outputBlock(stream)]));
  const heading = h("div", { class: "job-head" }, h("p", { class: "back" }, h("a", { href: "#/jobs" }, "All jobs")), title, acts);
  const element = h(
    "article", { class: "about", "aria-label": "Job" },
    heading, problem, facts, ...STREAMS.map((stream) => outputs[stream].element), left, receipt,
  );
  const follower = new JobFollower(app.client, jobId);
  let last = {}, live;

  const update = () => {
    const now = follower.snapshot(), { job, result } = now;
    if (job !== last.job && job !== undefined) {
      about(job);
      told(job);
      if (isLive(job) !== live && last.job !== undefined) say(`${job.name} ${stateWords(job)}`);
      live = isLive(job);
    }
    for (const stream of STREAMS) {
      const whole = result === undefined ? now[stream] : { bytes: result[stream], dropped: 0 };
      if (now[stream] !== last[stream] || result !== last.result) outputs[stream].show(whole, job, result !== undefined);
    }
    if (now.problem !== last.problem) fill(problem, now.problem && told_(now.problem));
    if (result !== undefined && result !== last.result) {
      fill(left, leftBlock(result, ending.signal));
      fill(receipt, receiptBlock(app, result).element);
      say("The receipt is verified.");
    }
    last = now;
  };

  const told_ = (error) => {
    if (error instanceof ReceiptRejectedError) {
      for (const stream of STREAMS) outputs[stream].refuse();
      return h(
        "div", { class: "alert", role: "alert" },
        h("p", {}, h("strong", { class: "bad" }, "✕ Rejected. "), "What the server sent is not what the node signed. It is not shown."),
        h("ul", {}, error.reasons.map((reason) => h("li", {}, reason))),
      );
    }
    return alertOf(error);
  };

  const about = (job) => {
    fill(title, stateSign(job), " ", h("span", { class: "title" }, job.name));
    const spent = job.startedAt && job.finishedAt ? (new Date(job.finishedAt) - new Date(job.startedAt)) / 1000 : undefined;
    const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
    fill(
      facts,
      fact("state", h("span", { class: "state" }, stateWords(job)), job.attempt > 1 ? `, attempt ${job.attempt}` : ""),
      fact("submitted", moment(job.submittedAt)),
      spent === undefined ? [] : fact("took", duration(spent)),
      job.expiresAt ? fact("kept until", moment(job.expiresAt)) : [],
      fact("job id", h("span", { class: "mono" }, job.jobId)),
      fact("node", h("span", { class: "mono", title: job.node }, ends(job.node, 10))),
    );
    const act = (label, run, sure) =>
      h("button", {
        type: "button",
        on: {
          async click({ currentTarget: button }) {
            if (sure !== undefined && button.textContent !== sure) {
              button.textContent = sure;
              return;
            }
            button.disabled = true;
            try {
              const changed = await run();
              about(changed);
              told(changed);
            } catch (error) {
              fill(problem, alertOf(error));
              button.disabled = false;
            }
          },
        },
      }, label);
    fill(
      acts,
      isLive(job) ? act("Cancel", () => app.client.cancel(jobId)) : undefined,
      !isLive(job) && !job.released ? act("Delete on the node", () => app.client.release(jobId), "Delete output and receipt for good?") : undefined,
    );
  };

  let end = follower.subscribe(update);
  fill(title, h("span", { class: "mono" }, ends(jobId, 8)));
  return {
    element,
    /** The server is back: what had failed for good is asked again. */
    again() {
      const { result, problem: failure } = follower.snapshot();
      if (result !== undefined || failure === undefined || failure instanceof ReceiptRejectedError) return;
      end();
      end = follower.subscribe(update);
    },
    leave() {
      ending.abort();
      end();
    },
  };
}

function outputBlock(stream) {
  const text = h("pre", { class: "output", tabindex: "0", role: "region", "aria-label": stream, "data-empty": "nothing yet" });
  const length = h("span", { class: "push" }), save = h("span");
  const element = h("section", { class: "block" }, h("h2", {}, stream, length, save), text);
  element.hidden = stream === "stderr";
  return {
    element,
    show({ bytes, dropped }, job, verified) {
      const follows = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
      text.textContent = shown(bytes, dropped);
      text.dataset.empty = job !== undefined && !isLive(job) ? "nothing" : "nothing yet";
      if (follows) text.scrollTop = text.scrollHeight;
      fill(length, size(bytes.length + dropped), verified ? ", verified" : "");
      fill(save, verified && bytes.length > 0 ? saving(bytes, stream, "Save") : undefined);
      element.hidden = stream === "stderr" && bytes.length === 0;
    },
    refuse() {
      text.textContent = "";
      text.dataset.empty = "refused: it is not what the node signed";
      fill(length);
      fill(save);
    },
  };
}
