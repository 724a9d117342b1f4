// A Chromium with a page of `plasm web` in it, driven by what pytest asks for.
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(join(process.env.PLASM_NODE_MODULES, "here.cjs"));
const { chromium } = require("playwright-core");
export const axe = require.resolve("axe-core/axe.min.js");
export const url = process.env.PLASM_URL, token = process.env.PLASM_TOKEN;
export const WAIT_MS = 60_000;

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const launched = await chromium.launch({ executablePath: process.env.PLASM_CHROMIUM, args: FLAGS });
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Open the page as its user does, by the address with the token. `told` collects what went wrong in it. */
export async function open({ fragment = `token=${token}`, ...options } = {}) {
  const context = await launched.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage(), told = [];
  page.setDefaultTimeout(WAIT_MS);
  page.on("pageerror", (error) => told.push(error.message));
  page.on("console", (message) => {
    // That a request failed is told by the browser itself; whether the page copes is what tests are about.
    if (["error", "warning"].includes(message.type()) && !/Failed to load resource/.test(message.text())) told.push(message.text());
  });
  await page.goto(`${url}/#${fragment}`);
  return { page, context, told };
}

/** Have pytest do something to the daemon or the server, and wait until it is done. */
export async function ask(what) {
  process.stdout.write(`DO ${what}\n`);
  const { value } = await answers.next();
  if (value !== "done") throw new Error(`${what}: ${value}`);
}

/** Submit a module by the form, and wait until its job is shown. */
export async function submit(page, module, { args = "", limits = {}, folder = "", outputs = "" } = {}) {
  await page.getByRole("navigation").getByRole("link", { name: "New job" }).click();
  await page.getByLabel("Drop a WebAssembly module here").setInputFiles(module);
  if (args !== "") await page.getByLabel("Arguments").fill(args);
  if (folder !== "") await page.getByLabel("Input folder").setInputFiles(folder);
  if (outputs !== "") await page.getByLabel("Outputs").fill(outputs);
  if (Object.keys(limits).length > 0) await page.getByText("Limits and entry").click();
  for (const [name, value] of Object.entries(limits)) await page.getByLabel(name, { exact: true }).fill(value);
  await page.getByRole("button", { name: "Run" }).click();
  await page.waitForURL(/#\/jobs\/[0-9a-f]{64}$/);
  return page.url().slice(-64);
}

export const output = (page) => page.getByRole("region", { name: "stdout" });
export const verified = (page) => page.locator("strong", { hasText: /^verified$/ });

/** End the browser. */
export async function close() {
  await launched.close();
  answers.return?.();
  process.stdin.destroy();
}
