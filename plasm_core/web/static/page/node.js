/** The place of the node: its health with what to do, plots of the last hour, and what it offers. */

import { alertOf, fill, h } from "./dom.js";
import { count, duration, size } from "./format.js";
import { perMinute, plot } from "./plots.js";

const LOOK_MS = 10_000;
const SIGNS = { ok: ["good", "✓", "fine"], warning: ["warn", "!", "warning"], failure: ["bad", "✕", "failure"] };

export function nodePlace(app) {
  const health = h("div"), offers = h("dl", { class: "facts" }), plots = h("div", { class: "plots" }), problem = h("div");
  const who = h("p", { class: "mono muted" }), ending = new AbortController();
  const element = h(
    "div", { class: "about" },
    h("div", {}, h("div", { class: "head" }, h("h1", {}, "Node")), who, problem),
    h("section", { class: "block" }, h("h2", {}, "The last hour"), plots),
    h("section", { class: "block" }, h("h2", {}, "Health"), health),
    h("section", { class: "block" }, h("h2", {}, "What it offers"), offers),
  );

  const look = async () => {
    try {
      const [node, samples] = await Promise.all([app.client.node({ signal: ending.signal }), app.client.history({ signal: ending.signal })]);
      fill(problem);
      show(node);
      draw(samples);
    } catch (error) {
      if (!ending.signal.aborted) fill(problem, alertOf(error));
    }
  };

  const show = ({ peerId, checks, capabilities }) => {
    fill(who, peerId ?? "no daemon answers");
    const order = ["failure", "warning", "ok"];
    const sorted = [...checks].sort((one, other) => order.indexOf(one.status) - order.indexOf(other.status));
    fill(health, h("ul", { class: "checks" }, sorted.map(({ name, status, found, hint }) => {
      const [tone, sign, word] = SIGNS[status] ?? SIGNS.warning;
      return h("li", {}, h("span", { class: tone, "aria-hidden": "true" }, sign),
        h("span", {}, h("span", { class: "unseen" }, `${word}: `), h("b", {}, name), `: ${found}`), hint && h("span", { class: "hint" }, hint));
    })));
    fill(offers, offered(capabilities));
  };

  const draw = (samples) => {
    const of = (name) => samples.map((sample) => [Date.parse(sample.at), sample[name]]).filter(([, value]) => value !== undefined);
    const rate = (name) => perMinute(of(name));
    const whole = (value) => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
    fill(
      plots,
      plot("Queue", [{ name: "waiting", points: of("waiting") }, { name: "running", points: of("running") }], { unit: "jobs", format: whole }),
      plot("Throughput", [{ name: "", points: rate("ended") }], { unit: "jobs a minute", format: whole }),
      plot("Gas", [{ name: "", points: rate("gas") }], { unit: "a minute" }),
      plot("Outcomes", [
        { name: "exited", points: rate("exited") }, { name: "failed", points: rate("failed") }, { name: "stopped", points: rate("claimed") },
      ], { unit: "a minute", format: whole }),
    );
  };

  void look();
  const timer = setInterval(() => document.hidden || void look(), LOOK_MS);
  return {
    element,
    again: () => void look(),
    leave() {
      clearInterval(timer);
      ending.abort();
    },
  };
}

/** A capability record as facts. */
export function offered(record) {
  const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];
  if (record === undefined) return [];
  const { limits = {}, load = {}, engines = [] } = record;
  const walls = limits.wall_time_s ?? limits.wallTimeS, memory = limits.memory_bytes ?? limits.memoryBytes;
  return [
    fact("engines", engines.map(({ name, version }) => `${name} ${version}`).join(", ")),
    fact("lends", record.lends ? "to anyone" : "to its own users only"),
    load.capacity === undefined ? [] : fact("load", `${count(load.running)} running, ${count(load.waiting)} waiting, room for ${count(load.capacity)}`),
    limits.gas === undefined ? [] : fact("limits", `${count(limits.gas)} gas, ${size(memory)} of memory, ${duration(walls)}`),
    fact("machine", `${record.architecture ?? ""}, ${record.cpu ?? "?"} processors, ${size(record.memory_bytes ?? record.memoryBytes ?? 0)} lent`),
    fact("grants", (record.capabilities ?? []).join(", ") || "none"),
  ];
}
