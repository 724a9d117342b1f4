/** The form that submits a job: `POST /v1/jobs`. */
import { fromUtf8 } from "./bytes.js";
import { PlasmError } from "./errors.js";
import { inputBytes } from "./manifest.js";
/**
 * Make the form. `module`: undefined if the server has it; `treeKnown`: whether it has the tree.
 *
 * Throws: `PlasmError` if args or env are not UTF-8.
 */
export function submissionForm(manifest, input, options, module, tree, treeKnown) {
    const { args, env, stdin } = inputBytes(input), form = new FormData();
    const part = (data, type) => new Blob([data], { type });
    // In JSON: a part that is text would have its line ends changed on the way.
    const description = {
        ...(options.name === undefined ? {} : { name: options.name }),
        args: args.map(textOf),
        env: env.map(textOf),
    };
    form.set("manifest", part(manifest.json, "application/json"), "manifest.json");
    form.set("job", part(JSON.stringify(description), "application/json"), "job.json");
    if (options.webhook !== undefined)
        form.set("webhook", options.webhook);
    if (tree !== undefined && treeKnown)
        form.set("treeDigest", tree.digest);
    if (module === undefined)
        form.set("moduleDigest", manifest.module);
    else
        form.set("module", part(module, "application/wasm"), options.name ?? "module.wasm");
    if (stdin.length > 0)
        form.set("stdin", part(stdin, "application/octet-stream"), "stdin");
    if (tree !== undefined && !treeKnown)
        form.set("pack", tree.pack(), "pack");
    return form;
}
function textOf(bytes) {
    try {
        return fromUtf8(bytes);
    }
    catch (error) {
        throw new PlasmError("args and env must be UTF-8 to go through the HTTP API", { cause: error });
    }
}
