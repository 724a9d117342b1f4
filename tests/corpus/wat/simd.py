"""Write the module that applies every SIMD instruction to interesting vectors and prints the results' bits."""

import sys
from pathlib import Path

# Lanes from the lowest up: integers at their edges; f32 and f64 with zeros, subnormals, infinities, halves and
# NaNs of both signs, quiet and signalling, of several payloads.
_VECTORS = [
    "00000000 00000000 00000000 00000000",
    "ffffffff ffffffff ffffffff ffffffff",
    "00000001 7fffffff 80000000 fffffffe",
    "03020100 07060504 8b0a8908 0fff0d0c",
    "7f80ff01 00fe8081 80007fff ffff0001",
    "00000000 80000000 ffffffff 7fffffff",
    "3f800000 bf000000 40200000 c0600000",
    "80000000 00000001 7f7fffff ff800000",
    "7fc00000 ffc00001 7f800001 ffbfffff",
    "4f000000 cf000001 4f800000 4b000001",
    "00000000 3ff80000 00000000 bfe00000",
    "00000000 80000000 00000001 00000000",
    "00000000 7ff80000 00000001 fff00000",
    "ffffffff ffefffff 00000000 7ff00000",
    "00200000 41e00000 00000000 c1e00000",
    "deadbeef 12345678 e0000000 47efffff",
]

_INTEGERS = ("i8x16", "i16x8", "i32x4", "i64x2")
_LANES = {"i8x16": 16, "i16x8": 8, "i32x4": 4, "i64x2": 2, "f32x4": 4, "f64x2": 2}
_HALF = {"i16x8": "i8x16", "i32x4": "i16x8", "i64x2": "i32x4"}


def _scalar(shape: str) -> str:
    return {"i8x16": "i32", "i16x8": "i32"}.get(shape, shape[:3])


def _named(shape: str, names: str) -> list[str]:
    return [f"{shape}.{name}" for name in names.split()]


def _unary() -> list[str]:
    names = ["v128.not", "i8x16.popcnt", "f32x4.demote_f64x2_zero", "f64x2.promote_low_f32x4"]
    names += [f"{shape}.{name}" for shape in _INTEGERS for name in ("abs", "neg")]
    for shape, half in _HALF.items():
        names += [f"{shape}.extend_{part}_{half}_{sign}" for part in ("low", "high") for sign in "su"]
        if shape != "i64x2":
            names += [f"{shape}.extadd_pairwise_{half}_{sign}" for sign in "su"]
    for shape in ("f32x4", "f64x2"):
        names += _named(shape, "abs neg sqrt ceil floor trunc nearest")
    for sign in "su":
        names += [f"f32x4.convert_i32x4_{sign}", f"f64x2.convert_low_i32x4_{sign}"]
        names += [f"i32x4.trunc_sat_f32x4_{sign}", f"i32x4.trunc_sat_f64x2_{sign}_zero"]
    found = [f"({name} (local.get $a))" for name in names]
    tests = ["v128.any_true", *(f"{shape}.{name}" for shape in _INTEGERS for name in ("all_true", "bitmask"))]
    found += [f"(i32x4.splat ({name} (local.get $a)))" for name in tests]
    for shape, lanes in _LANES.items():
        signs = ("_s", "_u") if lanes > 4 else ("",)
        for lane in (0, lanes - 1):
            found += [f"({shape}.splat ({shape}.extract_lane{sign} {lane} (local.get $a)))" for sign in signs]
    return found


def _binary() -> list[str]:
    names = ["i8x16.swizzle", *_named("v128", "and andnot or xor")]
    for shape in _INTEGERS:
        names += _named(shape, "eq ne lt_s gt_s le_s ge_s add sub")
        if shape != "i64x2":
            names += _named(shape, "lt_u gt_u le_u ge_u min_s min_u max_s max_u")
        if shape != "i8x16":
            names.append(f"{shape}.mul")
            half = _HALF[shape]
            names += [f"{shape}.extmul_{part}_{half}_{sign}" for part in ("low", "high") for sign in "su"]
    for shape, wide in (("i8x16", "i16x8"), ("i16x8", "i32x4")):
        names += [f"{shape}.{name}_sat_{sign}" for name in ("add", "sub") for sign in "su"]
        names += [f"{shape}.narrow_{wide}_{sign}" for sign in "su"] + [f"{shape}.avgr_u"]
    names += ["i16x8.q15mulr_sat_s", "i32x4.dot_i16x8_s"]
    for shape in ("f32x4", "f64x2"):
        names += _named(shape, "eq ne lt gt le ge add sub mul div min max pmin pmax")
    found = [f"({name} (local.get $a) (local.get $b))" for name in names]
    amount = "(i32x4.extract_lane 0 (local.get $b))"
    found += [
        f"({shape}.{name} (local.get $a) {amount})"
        for shape in _INTEGERS
        for name in ("shl", "shr_s", "shr_u")
    ]
    found.append(
        "(v128.bitselect (local.get $a) (local.get $b) (v128.const i32x4 0x55555555 -1 0 0xf0f0f0f0))"
    )
    for shape, lanes in _LANES.items():
        sign = "_u" if lanes > 4 else ""
        for lane in (0, lanes - 1):
            value = f"({shape}.extract_lane{sign} {lanes - 1 - lane} (local.get $b))"
            found.append(f"({shape}.replace_lane {lane} (local.get $a) {value})")
    for lanes_taken in (range(0, 32, 2), range(31, 15, -1), [0, 31, 1, 30] * 4):
        found.append(f"(i8x16.shuffle {' '.join(map(str, lanes_taken))} (local.get $a) (local.get $b))")
    return found


def _memory() -> list[str]:
    """Return code that loads from the vectors at a place that the first lane names, and stores."""
    place = "(i32.and (i32x4.extract_lane 3 (local.get $a)) (i32.const 127))"
    loads = [f"v128.load{size}x{lanes}_{sign}" for size, lanes in ((8, 8), (16, 4), (32, 2)) for sign in "su"]
    loads += ["v128.load", *(f"v128.load{size}_splat" for size in (8, 16, 32, 64))]
    loads += [f"v128.load{size}_zero" for size in (32, 64)]
    found = [f"({name} offset=1025 {place})" for name in loads]
    for size in (8, 16, 32, 64):
        lane = 128 // size - 1
        found.append(f"(v128.load{size}_lane offset=1027 {lane} {place} (local.get $a))")
        store = f"(v128.store{size}_lane offset=16 {lane} (i32.const 1) (local.get $a))"
        found.append(f"{store} (v128.load offset=16 (i32.const 0))")
    return found


def module() -> str:
    """Return the module's text."""
    unary, binary = _unary() + _memory(), _binary()
    words = [int(word, 16) for vector in _VECTORS for word in vector.split()]
    data = "".join(f"\\{byte:02x}" for word in words for byte in word.to_bytes(4, "little"))
    one, two = "(param $a v128) (result v128)", "(param $a v128) (param $b v128) (result v128)"
    functions = [f"(func $u{i} {one} {code})" for i, code in enumerate(unary)]
    functions += [f"(func $b{i} {two} {code})" for i, code in enumerate(binary)]
    names = [f"$u{i}" for i in range(len(unary))] + [f"$b{i}" for i in range(len(binary))]
    end = 16 * len(_VECTORS)
    return f"""\
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (type $unary (func {one}))
  (type $binary (func {two}))
  (global $out (mut i32) (i32.const 65536))
  (data (i32.const 1024) "{data}")
  (table funcref (elem {" ".join(names)}))
  {chr(10).join(functions)}
  (func $put (param $value v128)
    (v128.store (global.get $out) (local.get $value))
    (global.set $out (i32.add (global.get $out) (i32.const 16))))
  (func $flush
    (i32.store (i32.const 0) (i32.const 65536))
    (i32.store (i32.const 4) (i32.sub (global.get $out) (i32.const 65536)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
    (global.set $out (i32.const 65536)))
  (func (export "_start") (local $f i32) (local $i i32) (local $j i32)
    (loop $unary
      (local.set $i (i32.const 0))
      (loop $vectors
        (call $put
          (call_indirect (type $unary) (v128.load offset=1024 (local.get $i)) (local.get $f)))
        (br_if $vectors (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const {end}))))
      (call $flush)
      (br_if $unary
        (i32.lt_u (local.tee $f (i32.add (local.get $f) (i32.const 1))) (i32.const {len(unary)}))))
    (loop $binary
      (local.set $i (i32.const 0))
      (loop $first
        (local.set $j (i32.const 0))
        (loop $second
          (call $put
            (call_indirect (type $binary)
              (v128.load offset=1024 (local.get $i)) (v128.load offset=1024 (local.get $j)) (local.get $f)))
          (br_if $second (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 16))) (i32.const {end}))))
        (br_if $first (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 16))) (i32.const {end}))))
      (call $flush)
      (br_if $binary
        (i32.lt_u (local.tee $f (i32.add (local.get $f) (i32.const 1))) (i32.const {len(names)}))))))
"""


if __name__ == "__main__":
    (Path(sys.argv[1]) / "numeric_simd.wat").write_text(module())
