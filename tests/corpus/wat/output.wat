;; Writes as many bytes to standard output as the first argument says in decimal, in pieces of at most 1,000 of
;; 251 different bytes, and as many to standard error as the second says; each piece in two vectors.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $number (param $at i32) (result i32) (local $value i32)
    (block $done
      (loop $digits
        (br_if $done (i32.eqz (i32.load8_u (local.get $at))))
        (local.set $value
          (i32.add
            (i32.mul (local.get $value) (i32.const 10))
            (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $digits)))
    (local.get $value))
  (func $write (param $stream i32) (param $left i32) (local $piece i32)
    (block $done
      (loop $more
        (br_if $done (i32.eqz (local.get $left)))
        (local.set $piece
          (select (local.get $left) (i32.const 1000) (i32.lt_u (local.get $left) (i32.const 1000))))
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.div_u (local.get $piece) (i32.const 3)))
        (i32.store (i32.const 8) (i32.add (i32.const 1024) (i32.load (i32.const 4))))
        (i32.store (i32.const 12) (i32.sub (local.get $piece) (i32.load (i32.const 4))))
        (if (call $fd_write (local.get $stream) (i32.const 0) (i32.const 2) (i32.const 16))
          (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 16)) (local.get $piece)) (then (unreachable)))
        (local.set $left (i32.sub (local.get $left) (local.get $piece)))
        (br $more))))
  (func (export "_start") (local $i i32)
    (loop $filling
      (i32.store8 offset=1024 (local.get $i) (i32.rem_u (local.get $i) (i32.const 251)))
      (br_if $filling
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))
    (drop (call $args_get (i32.const 32) (i32.const 64)))
    (call $write (i32.const 1) (call $number (i32.load (i32.const 36))))
    (call $write (i32.const 2) (call $number (i32.load (i32.const 40))))))
