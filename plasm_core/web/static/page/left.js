/** The files that a job left: each with its digest, and verified when it was downloaded here. */

import { ReceiptRejectedError } from "../sdk/index.js";
import { fill, h, save, say } from "./dom.js";
import { several, size } from "./format.js";

const SHOWN = 200, AT_ONCE_FILES = 50, AT_ONCE_BYTES = 8 << 20;

/** The block of a verified result's files; undefined if the job has none. */
export function leftBlock({ files, receipt }, signal) {
  if (receipt.asked.files === undefined || receipt.asked.files.outputs.length === 0) return undefined;
  const all = [...files], bytes = all.reduce((total, { sizeBytes }) => total + sizeBytes, 0);
  const few = all.length <= AT_ONCE_FILES && bytes <= AT_ONCE_BYTES;
  const list = h("ul", { class: "files left" }), more = h("button", { type: "button", on: { click: () => show() } }, "Show more files");
  let next = 0;
  const show = () => {
    const rows = all.slice(next, next + SHOWN).map((file) => row(file, few, signal));
    list.append(...rows);
    next += rows.length;
    more.hidden = next >= all.length;
  };
  show();
  return h(
    "section", { class: "block" },
    h("h2", {}, "Files", h("span", { class: "push" }, `${several(all.length, "file")}, ${size(bytes)}`)),
    files.missing.length > 0 && h("p", { class: "warn" }, "The job did not leave: ", h("span", { class: "mono" }, files.missing.join(", "))),
    list, more,
  );
}

function row(file, now, signal) {
  const state = h("span", { class: "verdict-of", role: "status" }, h("span", { class: "muted" }, "not downloaded yet"));
  let bytes;
  const button = h("button", { type: "button", "aria-label": `Save ${file.path}`, on: { click: () => void keep() } }, "Save");

  const verify = async () => {
    if (bytes !== undefined) return bytes;
    fill(state, h("span", { class: "muted" }, "downloading …"));
    try {
      bytes = await file.bytes({ signal });
      fill(state, h("span", { class: "good" }, "✓ verified"));
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof ReceiptRejectedError) {
        fill(state, h("strong", { class: "bad" }, "✕ refused: it is not what the node signed"));
        button.remove();
        say(`${file.path} is refused.`);
      } else fill(state, h("span", { class: "warn" }, `! ${error.message}`));
    }
    return bytes;
  };

  const keep = async () => {
    button.disabled = true;
    const whole = await verify();
    button.disabled = false;
    if (whole !== undefined) save(whole, file.path.split("/").at(-1));
    if (!now) bytes = undefined; // many or large files are not kept in memory
  };

  if (now) void verify();
  return h(
    "li", {},
    h("span", { class: "mono path" }, file.path), h("span", { class: "muted" }, size(file.sizeBytes)), button,
    h("span", { class: "mono muted digest", title: `SHA-256 ${file.sha256}` }, file.sha256), state,
  );
}
