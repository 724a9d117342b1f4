"""The files that programs are given: sources in several languages, drawings, tables."""

from __future__ import annotations

import struct

STDLIB_MODULE = """\
def mean(values):
    return sum(values) / len(values)


def slope(xs, ys):
    mx, my = mean(xs), mean(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sum((x - mx) ** 2 for x in xs)
"""
PYTHON = """\
import csv, hashlib, json, os, random, sqlite3, sys, tempfile, time
sys.path.insert(0, "/project")
import statistics_of_ours as ours

with open("/data.csv", newline="") as file:
    rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
xs, ys = [row["x"] for row in rows], [row["y"] for row in rows]
os.makedirs("/out/deep", exist_ok=True)
with open("/out/table.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["n", "mean", "slope"])
    writer.writerow([len(rows), ours.mean(ys), ours.slope(xs, ys)])
points = " ".join(f"{10 * x:.2f},{100 - y:.2f}" for x, y in zip(xs, ys))
with open("/out/plot.svg", "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 200"><polyline points="{points}"/></svg>')
with open("/out/deep/digest.json", "w") as file:
    json.dump({"sha256": hashlib.sha256(repr(rows).encode()).hexdigest()}, file)
os.rename("/out/deep/digest.json", "/out/digest.json")
random.seed(7)
print(len(rows), random.random(), sorted(os.listdir("/out")), sum(i * i for i in range(300_000)))
"""
PYTHON = PYTHON.replace(", sqlite3", "").replace(", tempfile, time", "")
CSV = "x,y\n" + "".join(f"{number / 2},{number * number / 20 % 37:.3f}\n" for number in range(60))
RUBY_LIBRARY = """\
module Words
  def self.count(text) = text.downcase.scan(/[a-z]+/).tally.sort_by { |word, n| [-n, word] }
end
"""
RUBY = """\
require "/project/words"
text = File.read("/data.txt")
Dir.mkdir("/out") unless Dir.exist?("/out")
File.write("/out/words.tsv", Words.count(text).map { |w, n| "#{w}\\t#{n}\\n" }.join)
puts Words.count(text).first(3).inspect, (1..20).reduce(:*), Dir.children("/out").sort.inspect
"""
TEXT = "The quick brown fox jumps over the lazy dog. " * 40 + "The end, the end.\n"
PHP = """\
<?php
require "/project/stats.php";
$rows = array_map("str_getcsv", file("/data.csv", FILE_IGNORE_NEW_LINES));
array_shift($rows);
@mkdir("/out");
file_put_contents("/out/result.json", json_encode(["n" => count($rows), "mean" => mean(array_column($rows, 1))]));
echo count($rows), " ", round(mean(array_column($rows, 1)), 6), " ", md5(serialize($rows)), "\\n";
"""
PHP_LIBRARY = "<?php\nfunction mean(array $values): float { return array_sum($values) / count($values); }\n"
JAVASCRIPT = """\
import * as std from "qjs:std";
import * as os from "qjs:os";
import { fib } from "/project/fib.js";
const text = std.loadFile("/data.csv");
const rows = text.trim().split("\\n").slice(1).map((line) => line.split(",").map(Number));
os.mkdir("/out");
const file = std.open("/out/sums.json", "w");
file.puts(JSON.stringify({ rows: rows.length, sum: rows.reduce((s, [, y]) => s + y, 0), fib: fib(20) }));
file.close();
console.log(rows.length, fib(22));
"""
JAVASCRIPT_LIBRARY = "export const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));\n"
VERILOG = """\
module blink(input clk, output led, output [3:0] high);
  reg [23:0] counter = 0;
  always @(posedge clk) counter <= counter + 1;
  assign led = counter[23];
  assign high = counter[22:19] ^ counter[7:4];
endmodule
"""
SMT = """\
(set-logic QF_BV)
(declare-fun a () (_ BitVec 16))
(declare-fun b () (_ BitVec 16))
(assert (= (bvmul a b) #x3039))
(assert (bvult a b))
(assert (bvugt a #x0001))
(check-sat)
(get-model)
"""
SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="120" height="80">
  <defs><linearGradient id="g"><stop offset="0" stop-color="#08c"/><stop offset="1" stop-color="#fc0"/></linearGradient></defs>
  <rect width="120" height="80" fill="url(#g)"/>
  <path d="M10 70 C 40 10, 65 10, 95 70 S 110 20 118 8" stroke="black" stroke-width="3" fill="none"/>
  <circle cx="60" cy="40" r="15" fill="#fff" opacity="0.5"/>
</svg>
"""
C = """\
typedef unsigned char u8;
static u8 state;
int step(int a, int b) { for (int i = 0; i < b; ++i) state ^= (u8)(a * i + (a >> 2)); return state; }
int main(void) { return step(3, 14); }
"""
CPP = """\
template <typename T> struct Pair { T a, b; T sum() const { return a + b; } };
extern "C" int twice(int x) { Pair<int> pair{x, x}; return pair.sum(); }
int main() { return twice(21); }
"""
ASSEMBLER = """\
    .section .text
    .global main
main:
    ldi r24, 42
    ldi r25, 0
loop:
    subi r24, 1
    brne loop
    ret
"""


LINKER_SCRIPT = """\
ENTRY(main)
SECTIONS { .text 0 : { *(.text) } .data 0x800100 : { *(.data) } .bss : { *(.bss) } }
"""


def off_mesh(n: int = 6) -> bytes:
    """Return a bumpy closed mesh, a subdivided cube's surface as a grid sphere, in the OFF format."""
    points = [
        (x / n * 2 - 1, y / n * 2 - 1, ((x * 7 + y * 3) % 5) / 10) for y in range(n + 1) for x in range(n + 1)
    ]
    faces = []
    for y in range(n):
        for x in range(n):
            a = y * (n + 1) + x
            faces += [(a, a + 1, a + n + 2), (a, a + n + 2, a + n + 1)]
    lines = [f"OFF\n{len(points)} {len(faces)} 0"]
    lines += [f"{x:.6f} {y:.6f} {z:.6f}" for x, y, z in points]
    lines += [f"3 {a} {b} {c}" for a, b, c in faces]
    return ("\n".join(lines) + "\n").encode()


def floats(count: int) -> bytes:
    """Return some binary data."""
    return b"".join(struct.pack("<f", (number * 37 % 101) / 7) for number in range(count))
