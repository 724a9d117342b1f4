// What a user does with the page, a scenario an argument: `node scenarios.mjs NAME`.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ask, axe, close, open, output, submit, token, url, verified, WAIT_MS } from "./browser.mjs";

const { PLASM_HELLO: hello, PLASM_TICKER: ticker, PLASM_FOREVER: forever, PLASM_FILES: copier, PLASM_ROOT: root } = process.env;
const until = async (holds, what) => {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`never came: ${what}`);
};
const ticks = async (page) => ((await output(page).textContent()) ?? "").split("\n").filter((line) => line === "tick").length;
const state = (page) => page.locator(".state");

/** Submit a batch as a program does. */
const batch = async (jobs, { module = hello, wait = 60 } = {}) => {
  const form = new FormData();
  form.set("jobs", new Blob([jobs]), "jobs");
  form.set("module", new Blob([readFileSync(module)]), "module.wasm");
  const headers = { Authorization: `Bearer ${token}`, ...(wait > 0 ? { Prefer: `wait=${wait}` } : {}) };
  const answer = await fetch(`${url}/v1/batches`, { method: "POST", headers, body: form });
  assert.ok(answer.ok, await answer.clone().text());
  return answer.json();
};

const scenarios = {
  async "runs hello, sees it verified, and runs it again"() {
    const { page, told } = await open();
    await page.getByText("No jobs yet.").waitFor();
    assert.ok(!page.url().includes("token"), "the token stays in the address");
    const jobId = await submit(page, hello, { args: "some\nwords" });
    await verified(page).waitFor();

    assert.equal(await output(page).textContent(), "sdrow emos\n");
    await page.getByText(/signed that the job exited with code 0, used [\d,]+ gas, and wrote 11 bytes to stdout/).waitFor();
    await page.getByText("The node is the one that this server belongs to.").waitFor();
    await page.getByRole("button", { name: "Re-execute here" }).click();
    await page.getByText("re-executed here on V8: output, exit code and gas equal").waitFor();
    await page.locator(`.jobs a[href="#/jobs/${jobId}"]`, { hasText: "complete" }).waitFor();

    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save the receipt" }).click();
    const receipt = readFileSync(await (await saving).path());
    await page.getByRole("navigation").getByRole("link", { name: "Verify" }).click();
    await page.getByLabel("Receipt, batch.json or proof").setInputFiles({ name: "r.json", mimeType: "application/json", buffer: receipt });
    await verified(page).waitFor();
    await page.getByLabel("stdout, to compare").setInputFiles({ name: "out", mimeType: "text/plain", buffer: Buffer.from("sdrow emoS\n") });
    await page.getByText(/^the stdout is not what the receipt says/).waitFor();
    assert.deepEqual(told, []);
  },

  async "sees output while the job runs, goes on after a reload, and cancels it"() {
    const { page, told } = await open();
    const jobId = await submit(page, forever, { limits: { Gas: "1e14", "Wall time": "600" } });
    await until(async () => (await ticks(page)) >= 2, "output of a running job");
    assert.match(await state(page).textContent(), /^runs/);

    await page.reload();
    await until(async () => (await ticks(page)) >= 2, "output after the reload");
    assert.ok(page.url().endsWith(jobId));
    assert.match(await state(page).textContent(), /^runs/);
    const before = await ticks(page);
    await until(async () => (await ticks(page)) > before, "more output");

    await page.getByRole("button", { name: "Cancel" }).click();
    await verified(page).waitFor();
    await page.getByText(/signed that the job was cancelled/).waitFor();
    assert.ok((await ticks(page)) > before);
    await page.getByRole("button", { name: "Re-execute here" }).click();
    await page.getByText(/^not re-executed: the node says that the job cancelled/).waitFor();
    assert.deepEqual(told, []);
  },

  async "keeps what is filled in before the server has answered"() {
    const { context } = await open();
    const page = await context.newPage();
    let answer;
    const released = new Promise((resolve) => (answer = resolve));
    await page.route(/\/v1\/jobs\?/, async (route) => {
      await released;
      await route.continue();
    });
    await page.goto(`${url}/#token=${token}`);
    await page.getByRole("navigation").getByRole("link", { name: "New job" }).click();
    await page.getByLabel("Drop a WebAssembly module here").setInputFiles(hello);
    await page.getByLabel("Standard input", { exact: true }).fill("kept");
    const answered = page.waitForResponse(/\/v1\/jobs\?/);
    answer();
    await answered;
    await page.waitForFunction(() => sessionStorage.getItem("plasm.token"));
    await page.getByRole("button", { name: "Run" }).click();
    await page.waitForURL(/#\/jobs\/[0-9a-f]{64}$/);
    await verified(page).waitFor();
    assert.match(await output(page).textContent(), /tpek/);
  },

  async "refuses a tampered receipt and a tampered output"() {
    const { page } = await open();
    const jobId = await submit(page, hello, { args: "truth" });
    await verified(page).waitFor();

    const forged = (bytes) => {
      const envelope = JSON.parse(bytes), statement = JSON.parse(Buffer.from(envelope.payload, "base64"));
      statement.predicate.result.gasUsed = "4242";
      return JSON.stringify({ ...envelope, payload: Buffer.from(JSON.stringify(statement)).toString("base64") });
    };
    const lie = (bytes) => Buffer.from(bytes.toString().replace("h", "H"));
    for (const [ending, change, reason] of [
      ["receipt", forged, /^no signature of 12D3KooW\w{44}, the node it names, is valid$/],
      ["stdout", lie, /^the stdout is not what the receipt says/],
    ]) {
      const liar = await open();
      await liar.page.route(`**/v1/jobs/${jobId}/${ending}*`, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, body: change(await response.body()) });
      });
      await liar.page.goto(`${url}/#/jobs/${jobId}`);
      await liar.page.getByText("What the server sent is not what the node signed.").waitFor();
      await liar.page.getByRole("listitem").filter({ hasText: reason }).waitFor();
      assert.equal(await verified(liar.page).count(), 0);
      assert.equal(await output(liar.page).textContent(), "");
      await liar.context.close();
    }
  },

  async "gives a job a folder, and verifies each file that it left"() {
    const { page, told } = await open();
    const jobId = await submit(page, copier, { folder: process.env.PLASM_FOLDER, outputs: "out/\nnothing" });
    await verified(page).waitFor();
    const row = (on, path) => on.getByRole("listitem").filter({ hasText: path });
    await row(page, "out/copy").getByText("✓ verified").waitFor();
    await row(page, "out/sub/length").getByText("4 bytes").waitFor();
    await page.getByText("The job did not leave: nothing").waitFor();
    const saving = page.waitForEvent("download");
    await page.getByRole("button", { name: "Save out/copy" }).click();
    const data = readFileSync(join(process.env.PLASM_FOLDER, "data"));
    assert.deepEqual(readFileSync(await (await saving).path()), data);
    await page.reload();
    await page.getByRole("button", { name: "Re-execute here" }).click();
    await page.getByText("re-executed here on V8: output, files, exit code and gas equal").waitFor();
    assert.deepEqual(told, []);

    const liar = async (pattern, change) => {
      const lying = await open();
      await lying.page.route(pattern, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, body: change(await response.body()) });
      });
      await lying.page.goto(`${url}/#/jobs/${jobId}`);
      return lying;
    };
    const one = await liar("**/files/out/copy", (bytes) => Buffer.from(bytes.map((byte, index) => (index === 1 ? byte ^ 1 : byte))));
    await row(one.page, "out/copy").getByText("refused: it is not what the node signed").waitFor();
    await row(one.page, "out/sub/length").getByText("✓ verified").waitFor();
    assert.equal(await one.page.getByRole("button", { name: "Save out/copy" }).count(), 0);
    assert.equal(await one.page.getByRole("button", { name: "Save out/sub/length" }).count(), 1);
    await one.context.close();
    const other = await liar("**/files?*", (bytes) => bytes.toString().replace("out/copy", "out/cope"));
    await other.page.getByText("What the server sent is not what the node signed.").waitFor();
    await other.page.getByRole("listitem").filter({ hasText: "the list of the files in out is not what the node signed" }).waitFor();
    assert.equal(await verified(other.page).count(), 0);
    await other.context.close();
  },

  async "takes a module and files that are dropped together, and lets a file be removed"() {
    const { page, told } = await open();
    await page.getByRole("navigation").getByRole("link", { name: "New job" }).click();
    const items = [["copier.wasm", [...readFileSync(copier)]], ["notes.txt", [1, 2]], ["other.txt", [3]]];
    await page.locator(".drop").first().evaluate((area, files) => {
      const dataTransfer = new DataTransfer();
      for (const [name, bytes] of files) dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
      area.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }, items);
    await page.getByText(/^copier\.wasm: .* ✓ may run$/).waitFor();
    await page.getByText("2 files, 3 bytes").waitFor();
    await page.getByRole("button", { name: "Remove other.txt" }).press("Enter");
    await page.getByText("1 file, 2 bytes").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Remove notes.txt");
    await page.getByRole("button", { name: "Run" }).click();
    await page.waitForURL(/#\/jobs\/[0-9a-f]{64}$/);
    await verified(page).waitFor();
    await page.getByText("Only the node’s word").click();
    await page.getByText("input files").waitFor();
    assert.deepEqual(told, []);
  },

  async "says that the daemon or the web server was killed, and recovers"() {
    const { page, told } = await open();
    const connection = page.locator("#connection");
    await submit(page, ticker);
    await until(async () => (await ticks(page)) >= 1, "output");
    await ask("kill the daemon");
    await connection.filter({ hasText: "The daemon does not answer." }).waitFor();
    await ask("start the daemon");
    await connection.waitFor({ state: "hidden" });
    await verified(page).waitFor(); // the node began the job again
    assert.equal(await output(page).textContent(), "tick\n".repeat(Number(process.env.PLASM_TICKS)));

    await submit(page, ticker);
    await until(async () => (await ticks(page)) >= 1, "output");
    await ask("kill the web server");
    await connection.filter({ hasText: /The web server at 127\.0\.0\.1:\d+ does not answer\./ }).waitFor();
    await ask("start the web server");
    await connection.waitFor({ state: "hidden" });
    await verified(page).waitFor();
    assert.equal(await output(page).textContent(), "tick\n".repeat(Number(process.env.PLASM_TICKS)));
    assert.deepEqual(told, []);
  },

  async "can be used by everyone: keyboard, names, narrow and wide, light and dark"() {
    const { page, told, context } = await open();
    const jobId = await submit(page, hello, { args: "for\nall" });
    await verified(page).waitFor();
    const { batchId } = await batch('{"args": ["a"]}\n{"gas": 10}\n');
    const withFiles = await submit(page, copier, { folder: process.env.PLASM_FOLDER, outputs: "out/\nnothing" });
    await verified(page).waitFor();
    await context.close();
    for (const [name, options] of Object.entries({
      narrow: { viewport: { width: 360, height: 740 }, colorScheme: "light" },
      wide: { viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
      "zoomed to 200 %": { viewport: { width: 640, height: 450 }, deviceScaleFactor: 2, colorScheme: "light" },
      "4K": { viewport: { width: 3840, height: 2160 }, colorScheme: "dark" },
    })) {
      const sized = await open({ ...options, bypassCSP: true }); // for the checker's script; the others keep the policy
      for (const place of [`jobs/${jobId}`, `jobs/${withFiles}`, `batches/${batchId}`, "jobs", "batches", "new", "verify", "peers", "node"]) {
        await sized.page.goto(`${url}/#/${place}`);
        await sized.page.getByRole("heading", { level: 1 }).waitFor();
        if (place.startsWith("jobs/")) await verified(sized.page).waitFor();
        if (place.startsWith("batches/")) {
          await sized.page.getByRole("button", { name: "Job 0 succeeded" }).click();
          await sized.page.getByText(/^receipt verified ✓/).waitFor();
        }
        if (place === "new") {
          await sized.page.getByLabel("Input folder").setInputFiles(process.env.PLASM_FOLDER);
          await sized.page.getByText("Limits and entry").click();
        }
        if (place === "node") await sized.page.getByText(/^engines$/).waitFor();
        const wide = await sized.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${name}: ${place} scrolls sideways by ${wide}`);
        if (name.startsWith("zoomed") || name === "4K") continue; // the same elements, of another size
        await sized.page.addScriptTag({ path: axe });
        for (const colorScheme of ["light", "dark"]) {
          await sized.page.emulateMedia({ colorScheme });
          const found = await sized.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
          assert.deepEqual(found.violations.map(({ id, nodes }) => `${name} ${colorScheme} ${place} ${id}: ${nodes[0].html}`), []);
        }
      }
      assert.deepEqual(sized.told, []);
      await sized.context.close();
    }
    // By the keyboard alone: the first stop is the way past the navigation; a job is reached and opened.
    const keys = await open();
    await keys.page.getByRole("link", { name: /hello\.wasm/ }).waitFor();
    await keys.page.evaluate(() => document.activeElement.blur());
    await keys.page.keyboard.press("Tab");
    assert.equal(await keys.page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await until(async () => {
      await keys.page.keyboard.press("Tab");
      return keys.page.evaluate(() => document.activeElement.matches(".jobs a"));
    }, "a job by Tab");
    await keys.page.keyboard.press("Enter");
    await verified(keys.page).waitFor();
    assert.deepEqual([...told, ...keys.told], []);
  },

  async "verifies a batch from elsewhere, and shows its jobs as a grid"() {
    const { page, told } = await open();
    await page.getByRole("navigation").getByRole("link", { name: "Verify" }).click();
    const file = page.getByLabel("Receipt, batch.json or proof");
    await file.setInputFiles(process.env.PLASM_BATCH);
    await page.getByText("not signed by a key that you trust").waitFor();
    await page.getByLabel("PeerId whose signature counts").fill(process.env.PLASM_SIGNER);
    await page.getByLabel("PeerId whose signature counts").blur();
    await verified(page).waitFor();
    await page.getByText("A batch of 9 jobs: 5 with a receipt, 5 succeeded.").waitFor();
    await page.getByRole("img", { name: "9 jobs, 5 with a receipt" }).waitFor();
    assert.deepEqual([await page.locator(".cells span").count(), await page.locator(".cells .there").count()], [9, 5]);

    const tampered = readFileSync(process.env.PLASM_BATCH, "utf8").replace(/"leaves":\["../, (found) => found.slice(0, -2) + "00");
    await file.setInputFiles({ name: "batch.json", mimeType: "application/json", buffer: Buffer.from(tampered) });
    await page.getByText("the root over its leaves is another than it says").waitFor();
    assert.equal(await page.locator(".cells").count(), 0);
    assert.deepEqual(told, []);
  },

  async "shows a batch as a grid that follows it, verifies a job of it, and cancels it"() {
    const { page, told } = await open();
    const done = await batch('{"args": ["abc"]}\n{"gas": 10}\n');
    await page.getByRole("navigation").getByRole("link", { name: "Batches" }).click();
    await page.locator(`.jobs a[href="#/batches/${done.batchId}"]`, { hasText: "ended: 2 of 2 jobs, 1 without success" }).click();
    await page.getByRole("button", { name: "Job 1 failed" }).click();
    await page.getByText("out of gas", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Job 0 succeeded" }).click();
    // Job 1 had a verified receipt, too.
    await until(async () => (await output(page).textContent()) === "cba\n", "the output of job 0");
    await page.getByText(/^receipt verified ✓ signed by 12D3KooW/).waitFor();

    await page.route(`**/v1/batches/${done.batchId}/jobs/0/stdout`, (route) => route.fulfill({ body: "cbA\n" }));
    await page.getByRole("button", { name: "Job 0 succeeded" }).click();
    await page.getByText(/the stdout is not what the receipt says/).waitFor();
    assert.equal(await output(page).count(), 0);

    const long = await batch(`${'{"gas": 1000000000000000, "wall_time_s": 600}\n'.repeat(9)}`, { module: forever, wait: 0 });
    await page.locator(`.jobs a[href="#/batches/${long.batchId}"]`).click();
    await page.locator(".state", { hasText: "runs: 0 of 9 jobs" }).waitFor();
    assert.equal(await page.locator(".cell").count(), 9);
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.locator(".state", { hasText: "cancelled: 9 of 9 jobs, 9 without success" }).waitFor();
    await page.getByRole("button", { name: "Job 8 was cancelled" }).waitFor();
    assert.deepEqual(told, []);
  },

  async "asks for a token, and says when one is wrong"() {
    const { page } = await open({ fragment: "/jobs" });
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Open" }).click();
    await page.getByText("the token is not known, or was revoked").waitFor();
    await page.getByLabel("Token").fill(process.env.PLASM_TOKEN);
    await page.getByRole("button", { name: "Open" }).click();
    await page.getByRole("heading", { name: "Jobs" }).waitFor();
  },

  async "runs the vectors as nodes do"() {
    const { page, told } = await open({ bypassCSP: true });
    const file = (path) => readFileSync(join(root, path));
    await page.route("**/test/**", (route) => {
      const path = new URL(route.request().url()).pathname.replace("/test/", "");
      return route.fulfill({ body: file(path), contentType: path.endsWith("mjs") ? "text/javascript" : "application/octet-stream" });
    });
    const corpus = new Set(JSON.parse(file("tests/vectors/determinism.json")).cases.flatMap((each) => [each.module, each.stdin_file ?? []].flat()));
    const found = await page.evaluate(async (names) => {
      const { runs, attempt } = await import("/test/sdk/typescript/test/runs.mjs");
      const sdk = await import("/sdk/index.js");
      const bytes = async (path) => new Uint8Array(await (await fetch(`/test/${path}`)).arrayBuffer());
      const files = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await bytes(`tests/corpus/${name}`)])));
      const vectors = {};
      for (const name of ["determinism", "files", "exceptions"]) {
        vectors[name] = JSON.parse(new TextDecoder().decode(await bytes(`tests/vectors/${name}.json`)));
      }
      const answers = [];
      for (const run of runs({ vectors: (name) => vectors[name], corpus: (name) => files[name], unhex: sdk.unhex })) {
        answers.push({ name: run.name, ...(await attempt(run, sdk)) });
      }
      return answers;
    }, [...corpus]);

    assert.deepEqual(found.filter(({ differs }) => differs !== undefined && differs.length > 0), []);
    assert.deepEqual(found.filter(({ refused }) => refused !== undefined), []);
    // Chromium's stack is smaller than the 262,144 units of a job: such runs are undecided, and nothing else is.
    const ended = found.filter(({ detail }) => detail !== undefined);
    assert.deepEqual(ended.filter(({ detail }) => detail !== "the engine's own stack ended before the job's"), []);
    process.stdout.write(`${found.length} runs, ${ended.length} of them beyond the browser's stack: ${ended.map(({ name }) => name).join("; ")}\n`);
    assert.ok(ended.length < found.length / 8, `${ended.length} of ${found.length}`);
    assert.deepEqual(told, []);
  },
};

const [name] = process.argv.slice(2);
try {
  await scenarios[name]();
  process.stdout.write("PASSED\n");
} finally {
  await close();
}
