;; Writes six lines to standard output, with work for a moment behind each.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "tick\n")
  (func (export "_start") (local $line i32) (local $work i32)
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 5))
    (loop $lines
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))
      (local.set $work (i32.const 200000000))
      (loop $working
        (local.set $work (i32.sub (local.get $work) (i32.const 1)))
        (br_if $working (local.get $work)))
      (local.set $line (i32.add (local.get $line) (i32.const 1)))
      (br_if $lines (i32.lt_u (local.get $line) (i32.const 6))))))
