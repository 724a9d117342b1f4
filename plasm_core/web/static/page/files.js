/** The files that a new job gets, dropped or chosen, and the paths that are kept of what it leaves. */

import { fill, h, say } from "./dom.js";
import { several, size } from "./format.js";

const SHOWN = 50, MOST_FILES = 65_536;

/** The files of what was dropped, folders included, by their paths. Throws: RangeError on more than a job may have. */
export async function dropped(transfer) {
  // All at once: the items are gone after the event.
  const items = [...transfer.items].filter((item) => item.kind === "file").map((item) => [item.webkitGetAsEntry(), item.getAsFile()]);
  const found = [];
  for (const [entry, file] of items) {
    if (entry !== null) await walk(entry, found);
    else if (file !== null) found.push([file.name, file]);
  }
  return found;
}

async function walk(entry, found) {
  if (found.length >= MOST_FILES) throw new RangeError(`more than ${MOST_FILES} files`);
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    found.push([path, await new Promise((resolve, reject) => entry.file(resolve, reject))]);
    return;
  }
  found.push([`${path}/`, null]);
  const reader = entry.createReader();
  for (;;) {
    const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // some at a time
    if (children.length === 0) return;
    for (const child of children) await walk(child, found);
  }
}

/** The part of the form for files. `files` maps paths to what JobTree takes. */
export function filesField() {
  const files = new Map(), list = h("ul", { class: "files" }), sum = h("p", { class: "note", role: "status" });
  const chosen = (input) => [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
  const input = (id, attributes) => h("input", {
    id, type: "file", multiple: true, ...attributes, "aria-describedby": "files-note",
    on: {
      change({ currentTarget }) {
        add(chosen(currentTarget));
        currentTarget.value = "";
      },
    },
  });

  const add = (found) => {
    for (const [path, content] of found) files.set(path, content);
    show();
  };

  const show = () => {
    const all = [...files].filter(([, content]) => content !== null), bytes = all.reduce((total, [, { size: each }]) => total + each, 0);
    fill(sum, all.length > 0 && `${several(all.length, "file")}, ${size(bytes)}`);
    fill(list, all.slice(0, SHOWN).map(([path, content]) => h(
      "li", {}, h("span", { class: "mono path" }, path), h("span", { class: "muted" }, size(content.size)),
      h("button", {
        type: "button", class: "plain", "aria-label": `Remove ${path}`,
        on: {
          click() {
            files.delete(path);
            show();
            say(`${path} is removed.`);
            (list.querySelector("button") ?? element.querySelector("input")).focus();
          },
        },
      }, "Remove"),
    )), all.length > SHOWN && h("li", { class: "muted" }, `and ${several(all.length - SHOWN, "more file")}`),
    all.length > 1 && h("li", {}, h("button", {
      type: "button", class: "plain",
      on: {
        click() {
          files.clear();
          show();
          say("All files are removed.");
          element.querySelector("input").focus();
        },
      },
    }, "Remove all files")));
  };

  const element = h(
    "div", { class: "drop" },
    h("p", { class: "drop-title" }, "Drop input files or a folder here, or choose them"),
    h("div", { class: "two" },
      h("div", {}, h("label", { for: "input-files" }, "Input files"), input("input-files", {})),
      h("div", {}, h("label", { for: "input-folder" }, "Input folder"), input("input-folder", { webkitdirectory: true }))),
    h("p", { class: "note", id: "files-note" }, "The job gets copies, under these paths of its own tree."),
    sum, list,
  );
  return { element, files, add };
}
