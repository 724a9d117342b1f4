/** The page: its places, the token, and what is known of the connection. */

import { PlasmClient, ProblemError } from "../sdk/index.js";
import { batchesPlace } from "./batches.js";
import { alertOf, fill, h, say } from "./dom.js";
import { peerName } from "./format.js";
import { jobsPlace } from "./jobs.js";
import { newPlace } from "./submit.js";
import { nodePlace } from "./node.js";
import { peersPlace } from "./peers.js";
import { verifyPlace } from "./verify.js";

const PLACES = { jobs: jobsPlace, batches: batchesPlace, new: newPlace, verify: verifyPlace, peers: peersPlace, node: nodePlace };
const TITLES = { jobs: "Jobs", batches: "Batches", new: "New job", verify: "Verify", peers: "Peers", node: "Node" };
const LOOK_MS = 3000, QUIET_MS = 30_000;
const main = document.getElementById("main");

/** Take the token out of the address, where it would stay in the history. */
function takeToken() {
  const found = /^#token=([\w.~-]+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem("plasm.token", found[1]);
    history.replaceState(null, "", "#/jobs");
  }
  return sessionStorage.getItem("plasm.token");
}

const app = { client: undefined, node: undefined, leave: undefined, place: undefined };

function connect(token) {
  app.client = new PlasmClient({ url: location.origin, token: token ?? undefined, patienceS: 0 });
}

function show() {
  const [, place = "jobs", rest = ""] = /^#\/(\w+)(?:\/((?:[0-9a-f]{32}){1,2}))?$/.exec(location.hash) ?? [];
  const open = PLACES[place] ?? jobsPlace;
  for (const link of document.querySelectorAll("#places a")) {
    if (link.hash === `#/${place}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[place] ?? "Jobs"} · Plasm`;
  const before = app.place, same = before?.open === open && before.stay?.(rest);
  if (same) return;
  before?.leave?.();
  const made = open(app, rest);
  app.place = { ...made, open };
  fill(main, made.element);
  const there = document.activeElement;
  if (before !== undefined && (there === document.body || there?.closest("#places"))) main.focus({ preventScroll: true });
}

/** Ask for a token, and try it. */
function askToken(problem) {
  app.place?.leave?.();
  app.place = undefined;
  const field = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h(
    "form", { class: "form", on: { submit(event) { event.preventDefault(); enter(field.value.trim()); } } },
    h("h1", {}, "A token, please"),
    h("p", {}, "Open the address that ", h("code", {}, "plasm web"), " printed, or paste a token of ", h("code", {}, "plasm web token make NAME"), "."),
    problem ? alertOf(problem) : undefined,
    h("div", { class: "field" }, h("label", { for: "token" }, "Token"), field),
    h("div", { class: "acts" }, h("button", { class: "first", type: "submit" }, "Open")),
  );
  fill(main, form);
  field.focus();
}

async function enter(token) {
  connect(token);
  try {
    await app.client.list({ limit: 1 });
  } catch (error) {
    if (error instanceof ProblemError && error.status === 401) {
      sessionStorage.removeItem("plasm.token");
      return askToken(token ? error : undefined);
    }
    // It may come back: the page says so, and shows what there is.
  }
  if (token) sessionStorage.setItem("plasm.token", token);
  show();
}

const connection = document.getElementById("connection");
let lost = "";

/** Tell plainly whether server and daemon answer. */
function tell(now, ...words) {
  if (now === lost) return;
  const before = lost;
  lost = now;
  connection.hidden = now === "";
  if (now !== "") fill(connection, ...words);
  else if (before !== "") {
    say(before === "server" ? "The web server answers again." : "The daemon answers again.");
    app.place?.again?.();
  }
}

async function look() {
  if (app.client === undefined || (document.hidden && lost === "")) return setTimeout(look, LOOK_MS);
  try {
    const ready = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if (ready.ok) {
      tell("");
      if (app.node === undefined || Date.now() - app.nodeAt > QUIET_MS) await whose();
    } else {
      const { detail, hint } = await ready.json().catch(() => ({}));
      tell("daemon", h("strong", {}, "The daemon does not answer. "), "The web server does, and tries again. ",
        "Jobs that were accepted are on its disk. ", hint ?? detail ?? "");
    }
  } catch {
    tell("server", h("strong", {}, `The web server at ${location.host} does not answer. `), "Trying again. ",
      "Jobs run on without it. Start it with: ", h("code", {}, "plasm web"));
  }
  setTimeout(look, LOOK_MS);
}

async function whose() {
  try {
    app.node = await app.client.node();
    app.nodeAt = Date.now();
    const { peerId, version } = app.node;
    fill(document.getElementById("whose"), peerId ? h("span", { title: peerId }, `node ${peerName(peerId)}`) : "no daemon", h("span", { class: "version" }, ` · ${version}`));
  } catch {
    // Told by look().
  }
}

function theme() {
  const button = document.getElementById("theme"), order = ["system", "light", "dark"];
  const put = (name) => {
    document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    try {
      localStorage.setItem("plasm.theme", name);
    } catch {
      // Not kept.
    }
  };
  let now = "system";
  try {
    now = localStorage.getItem("plasm.theme") ?? "system";
  } catch {
    // Not kept.
  }
  put(order.includes(now) ? now : "system");
  button.addEventListener("click", () => put(order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length]));
}

theme();
addEventListener("hashchange", () => {
  const token = /^#token=/.test(location.hash) ? takeToken() : undefined;
  if (token) void enter(token);
  else if (app.client !== undefined) show();
});
await enter(takeToken());
void look();
