// Counts the words of standard input, the most frequent first, and the mean of their lengths in 32 bits.

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(descriptor: i32, vectors: usize, count: i32, read: usize): i32;
// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(descriptor: i32, vectors: usize, count: i32, written: usize): i32;

const vector = memory.data(16);
const CHUNK = 65536;

function read(): string {
  let text = "";
  const buffer = new ArrayBuffer(CHUNK);
  let length: u32;
  do {
    store<usize>(vector, changetype<usize>(buffer));
    store<usize>(vector, CHUNK, sizeof<usize>());
    if (fd_read(0, vector, 1, vector + 8) != 0) unreachable();
    length = load<u32>(vector, 8);
    text += String.UTF8.decodeUnsafe(changetype<usize>(buffer), length);
  } while (length);
  return text;
}

function print(line: string): void {
  const text = String.UTF8.encode(line + "\n");
  store<usize>(vector, changetype<usize>(text));
  store<usize>(vector, <usize>text.byteLength, sizeof<usize>());
  if (fd_write(1, vector, 1, vector + 8) != 0) unreachable();
}

const counts = new Map<string, i32>();
let length: f32 = 0;
let total: f32 = 0;
const words = read().split("\n").join(" ").split(" ");
for (let i = 0; i < words.length; i++) {
  const word = words[i];
  if (!word.length) continue;
  counts.set(word, counts.has(word) ? counts.get(word) + 1 : 1);
  length += <f32>word.length;
  total += 1;
}
const found = counts.keys();
found.sort((a, b) => {
  const order = counts.get(b) - counts.get(a);
  return order != 0 ? order : a < b ? -1 : 1;
});
for (let i = 0; i < found.length; i++) print(counts.get(found[i]).toString() + " " + found[i]);
print((<i32>(length / total * 1000)).toString());
