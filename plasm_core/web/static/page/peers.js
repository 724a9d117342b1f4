/** The place of peers: the nodes that answer, how quickly, and what they offer. */

import { alertOf, fill, h, s } from "./dom.js";
import { count, duration, ends } from "./format.js";
import { offered } from "./node.js";

export function peersPlace(app) {
  const found = h("div", { "aria-live": "polite" }), ending = new AbortController();
  const again = h("button", { type: "button", class: "push", on: { click: () => void look() } }, "Search again");
  const element = h("div", {}, h("div", { class: "head" }, h("h1", {}, "Peers"), again), found);

  const look = async () => {
    again.disabled = true;
    fill(found, h("p", { class: "muted" }, "Searching the network …"));
    try {
      const { peers, network } = await app.client.peers({ signal: ending.signal });
      if (!network) {
        fill(found, h("p", {}, "This server searches no network: its jobs run on its own node, or on those that the node’s gateway chooses."));
      } else if (peers.length === 0) fill(found, h("p", {}, "No node answered."));
      else fill(found, table(peers));
    } catch (error) {
      if (!ending.signal.aborted) fill(found, alertOf(error));
    }
    again.disabled = false;
  };

  void look();
  return { element, again: () => void look(), leave: () => ending.abort() };
}

function table(peers) {
  const slowest = Math.max(...peers.map(({ latencyS }) => latencyS), 0.001);
  const known = peers.some(({ known: told }) => told !== undefined);
  const columns = ["Node", "Answers in", "Engines", "Runs + waits", "Lends to", ...(known ? ["Known here"] : [])];
  const rows = peers.map(({ peerId, latencyS, capabilities, addresses, known: told }, index) => {
    const more = h("tr", { id: `peer-${index}`, hidden: true }, h("td", { colspan: columns.length }, h(
      "dl", { class: "facts" }, h("dt", {}, "PeerId"), h("dd", { class: "mono" }, peerId), offered(capabilities),
      h("dt", {}, "addresses"), addresses.map((address) => h("dd", { class: "mono" }, address)),
    )));
    const toggle = h("button", {
      type: "button", class: "plain toggle", "aria-expanded": "false", "aria-controls": more.id,
      on: {
        click() {
          more.hidden = !more.hidden;
          toggle.setAttribute("aria-expanded", String(!more.hidden));
        },
      },
    }, h("span", { class: "mono" }, ends(peerId, 8)));
    const row = h(
      "tr", {},
      h("th", { scope: "row" }, toggle),
      h("td", { class: "number" }, h("span", { class: "bar-cell" },
        s("svg", { viewBox: "0 0 96 8", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { width: Math.max(1, (96 * latencyS) / slowest), height: 8 })),
        h("span", {}, duration(latencyS)))),
      h("td", {}, (capabilities.engines ?? []).map(({ name }) => name).join(", ")),
      h("td", { class: "number" }, capabilities.load ? `${count(capabilities.load.running)} + ${count(capabilities.load.waiting)}` : "–"),
      h("td", {}, capabilities.lends ? "anyone" : "its users"),
      known && h("td", {}, told ?? "–"),
    );
    return [row, more];
  });
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Nodes" }, h(
    "table", { class: "table" },
    h("thead", {}, h("tr", {}, columns.map((name, index) =>
      h("th", { scope: "col", class: index === 1 || index === 3 ? "number" : "" }, name)))),
    h("tbody", {}, rows),
  ));
}
