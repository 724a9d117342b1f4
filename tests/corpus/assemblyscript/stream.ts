// Standard output for programs that have no host but WASI preview 1.

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(descriptor: i32, vectors: usize, count: i32, written: usize): i32;

const vector = memory.data(16);

export function print(line: string): void {
  const text = String.UTF8.encode(line + "\n");
  store<usize>(vector, changetype<usize>(text));
  store<usize>(vector, <usize>text.byteLength, sizeof<usize>());
  if (fd_write(1, vector, 1, vector + 8) != 0) unreachable();
}
