/** Elements, made and filled without markup in strings. */

/**
 * Make an element. Attributes: `class`, `dataset` aside, as in HTML; `on` names listeners; false and undefined are left
 * out. Children: nodes, texts, lists of them, or nothing.
 */
export function h(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  set(made, attributes);
  made.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for a drawing. */
export function s(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  set(made, attributes);
  made.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return made;
}

function set(made, { on = {}, ...attributes }) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, String(value));
  }
  for (const [name, listener] of Object.entries(on)) made.addEventListener(name, listener);
}

/** Put children in place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/** Say something to users of a screen reader, politely. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = text;
  });
}

/** An error with what to do about it. */
export function alertOf(error) {
  const { hint } = error;
  return h(
    "div", { class: "alert", role: "alert" },
    h("p", {}, error.message),
    hint ? h("p", { class: "hint" }, hint) : undefined,
  );
}

/** Save bytes as a file of this machine. */
export function save(bytes, name, type = "application/octet-stream") {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** A button that saves bytes. */
export function saving(bytes, name, label, type = "application/octet-stream") {
  return h("button", { type: "button", on: { click: () => save(bytes, name, type) } }, label);
}
