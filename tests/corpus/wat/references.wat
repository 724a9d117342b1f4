;; Writes values that lie twice on the operand stack, read from one local, while that local is set or a block begins,
;; and one of them is then dropped or used up and a narrower value takes its place.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $out (mut i32) (i32.const 64))
  (global $x (mut i32) (i32.const 99))
  (func $put (param $value i64)
    (i64.store (global.get $out) (local.get $value))
    (global.set $out (i32.add (global.get $out) (i32.const 8))))
  (func $set (param $a i64)
    local.get $a  local.get $a
    i64.const 5  local.set $a
    drop
    global.get $x  global.get $x  i32.add  drop
    call $put)
  (func $tee (param $a f64)
    local.get $a  local.get $a
    f64.const 0.5  local.tee $a
    drop  drop
    global.get $x  global.get $x  i32.sub  drop
    i64.reinterpret_f64  call $put)
  (func $same (param $a i64)
    local.get $a  local.get $a  local.tee $a
    drop
    global.get $x  global.get $x  i32.mul  drop
    call $put)
  (func $block (param $a i64)
    local.get $a  local.get $a
    (block (br_if 0 (global.get $x)) (unreachable))
    drop
    global.get $x  global.get $x  i32.xor  drop
    call $put)
  (func $loop (param $a f64)
    local.get $a  local.get $a
    (loop (br_if 0 (i32.eqz (global.get $x))))
    drop
    global.get $x  global.get $x  i32.or  drop
    i64.reinterpret_f64  call $put)
  (func $if (param $a i64)
    local.get $a  local.get $a
    (if (global.get $x) (then (global.set $x (i32.add (global.get $x) (i32.const 1)))))
    drop
    global.get $x  global.get $x  i32.and  drop
    call $put)
  (func $many (param $a i64)
    local.get $a  local.get $a  local.get $a  local.get $a
    i64.const -1  local.set $a
    i64.mul
    global.get $x  i64.extend_i32_u  local.get $a  i64.add
    global.get $x  global.get $x  i32.add  i64.extend_i32_u
    i64.xor  i64.add
    i64.sub
    i64.add  call $put)
  (func $kept (param $a i64) (local $n i32)
    ;; The narrower value itself must live, too, when the last of the others goes.
    (local.set $n (i32.const 7))
    local.get $a  local.get $a
    i64.const 3  local.set $a
    drop
    global.get $x  local.get $n  i32.add
    global.get $x  local.get $n  i32.sub
    i32.mul
    i64.extend_i32_u
    global.get $x  i64.extend_i32_u
    i64.sub
    i64.add
    call $put)
  (func (export "_start")
    (call $set (i64.const 0x1111111122222222))
    (call $tee (f64.const -0x1.23456789abcdep+77))
    (call $same (i64.const 0x3333333344444444))
    (call $block (i64.const 0x5555555566666666))
    (call $loop (f64.const nan:0x123456789abcd))
    (call $if (i64.const 0x7777777788888888))
    (call $many (i64.const 0x123456789abcdef))
    (call $kept (i64.const -0x123456789abcdef))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.sub (global.get $out) (i32.const 64)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
