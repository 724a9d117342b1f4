/** Numbers, sizes, times and names as people read them. */

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const near = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export const count = (value) => whole.format(value);
export const compact = (value) => short.format(value);

/** How many of a thing: `1 job`, `2 jobs`. */
export const several = (value, noun) => `${count(value)} ${noun}${Number(value) === 1 ? "" : "s"}`;

/** A size in bytes, as `1.5 MiB`. */
export function size(bytes) {
  let value = Number(bytes), unit = 0;
  for (; value >= 1024 && unit < UNITS.length - 1; value /= 1024) unit++;
  if (unit === 0) return value === 1 ? "1 byte" : `${count(value)} bytes`;
  return `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${UNITS[unit]}`;
}

/** A duration in seconds, as `3.2 s` or `2 min 5 s`. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${count(Math.round(1000 * seconds))} ms`;
  if (seconds < 60) return `${seconds.toLocaleString("en", { maximumSignificantDigits: 3 })} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 2880 && minutes % 60 === 0) return `${minutes / 60} h`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days`;
}

/** A moment, in full. */
export const moment = (text) => clock.format(new Date(text));

/** A moment by its distance from now, as `5 min. ago`. */
export function ago(text) {
  const seconds = (new Date(text) - Date.now()) / 1000, distance = Math.abs(seconds);
  if (distance < 5) return "just now";
  if (distance < 90) return near.format(Math.round(seconds), "second");
  if (distance < 5400) return near.format(Math.round(seconds / 60), "minute");
  if (distance < 129_600) return near.format(Math.round(seconds / 3600), "hour");
  return near.format(Math.round(seconds / 86_400), "day");
}

/** The ends of a long name. */
export const ends = (name, kept = 6) => (name.length <= 2 * kept + 1 ? name : `${name.slice(0, kept)}…${name.slice(-kept)}`);

/** A PeerId without what all of them begin with. */
export const peerName = (peer) => `12D3…${peer.slice(-6)}`;

/** Read a count, as `1e9` or `10_000`. Throws: RangeError. */
export function readCount(text, what) {
  const value = Number(text.replaceAll("_", "").replaceAll(",", "").trim());
  if (text.trim() === "" || !Number.isSafeInteger(value) || value < 0) throw new RangeError(`${what}: expected a whole number, as 1e9`);
  return value;
}

/** Read a size, as `64 MiB` or `65536`. Throws: RangeError. */
export function readSize(text, what) {
  const found = /^\s*([0-9][0-9_.]*(?:e[0-9]+)?)\s*(|b|bytes|kib|mib|gib|tib|kb|mb|gb)\s*$/i.exec(text);
  const unit = found?.[2].toLowerCase() ?? "";
  const power = { k: 1, m: 2, g: 3, t: 4 }[unit[0]] ?? 0;
  const value = Number(found?.[1].replaceAll("_", "")) * (unit.includes("i") || power === 0 ? 1024 : 1000) ** power;
  if (!Number.isSafeInteger(value)) throw new RangeError(`${what}: expected a size, as 64 MiB`);
  return value;
}

const SHOWN = 4096;

/** Bytes as text, or as a hexadecimal dump if they are not text. */
export function shown(bytes, dropped = 0) {
  const before = dropped > 0 ? `… ${size(dropped)} before this\n` : "";
  const text = new TextDecoder().decode(bytes);
  const odd = (text.match(/[\u0000-\u0008\u000e-\u001a\u001c-\u001f\ufffd]/g) ?? []).length;
  if (odd <= text.length / 50) return before + text.replace(/\u001b\[[0-9;]*[A-Za-z]/g, "").replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "\u2423");
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, SHOWN); at += 16) {
    const row = [...bytes.subarray(at, at + 16)];
    const pairs = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(8, "0")}  ${pairs}  ${letters}`);
  }
  return before + lines.join("\n") + (bytes.length > SHOWN ? `\n… ${size(bytes.length - SHOWN)} more` : "");
}
