/** Small plots of the last hour. */

import { h, s } from "./dom.js";
import { compact } from "./format.js";

const WIDTH = 600, HEIGHT = 100, HOUR_MS = 3_600_000; // of the drawing, which is stretched: all text is beside it
const CLASSES = ["", " second", " third"];

/** A round number not below a value, for the top of an axis. */
function ceiling(value) {
  if (value <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 2.5, 5, 10].find((step) => step * power >= value);
}

/**
 * Plot up to three series of [milliseconds, value] over the last hour.
 *
 * The newest values are told in the caption, and by the drawing's name for those who do not see it.
 */
export function plot(title, series, { unit = "", format = compact } = {}) {
  const now = Date.now(), top = ceiling(Math.max(...series.flatMap(({ points }) => points.map(([, value]) => value)), 0));
  const x = (at) => (WIDTH * (1 - (now - at) / HOUR_MS)).toFixed(1), y = (value) => (HEIGHT * (1 - value / top)).toFixed(1);
  const latest = series.map(({ name, points }) => `${name === "" ? "now" : name} ${points.length > 0 ? format(points.at(-1)[1]) : "–"}`);
  const lines = series.map(({ points }, index) =>
    s("polyline", { class: `line${CLASSES[index]}`, points: points.map(([at, value]) => `${x(at)},${y(value)}`).join(" ") }));
  const key = (index) => s("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, s("line", { class: `line${CLASSES[index]}`, x1: 0, x2: 24, y1: 4, y2: 4 }));
  return h(
    "figure", { class: "plot" },
    h("figcaption", {}, h("b", {}, title), unit && h("span", {}, unit),
      latest.map((words, index) => h("span", { class: "key" }, series.length > 1 && key(index), words))),
    h(
      "div", { class: "frame" },
      h("div", { class: "scale", "aria-hidden": "true" }, h("span", {}, format(top)), h("span", {}, "0")),
      s(
        "svg", {
          viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
          "aria-label": `${title} over the last hour${unit ? `, ${unit}` : ""}; ${latest.join(", ")}`,
        },
        s("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
        s("line", { class: "axis top", x1: 0, x2: WIDTH, y1: 0, y2: 0 }),
        lines,
      ),
      h("div", { class: "hours", "aria-hidden": "true" }, ["−60 min", "−40", "−20", "now"].map((text) => h("span", {}, text))),
    ),
  );
}

/** The change of a counter per minute between its samples; a counter that fell was reset to 0. */
export function perMinute(points) {
  return points.slice(1).map(([at, value], index) => {
    const [before, old] = points[index];
    return [at, (60_000 * Math.max(0, value >= old ? value - old : value)) / Math.max(1, at - before)];
  });
}
