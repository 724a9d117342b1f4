;; Exits with the number that the first argument gives in decimal, modulo 2^32, without coming back.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $number (result i32) (local $at i32) (local $value i32)
    (local.set $at (i32.load (i32.const 4)))
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
  (func (export "_start")
    (drop (call $args_get (i32.const 0) (i32.const 64)))
    (call $proc_exit (call $number))
    (unreachable)))
