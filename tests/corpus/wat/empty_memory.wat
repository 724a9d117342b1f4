;; Calls host functions that move nothing in a memory of no pages, exits with 16 if all of them succeed; those that
;; would store anything fail. Then the memory grows to its first page.
(module
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 0 1)
  (func (export "_start")
    (if (call $environ_get (i32.const 0) (i32.const 0)) (then (unreachable)))
    (if (call $random_get (i32.const 0) (i32.const 0)) (then (unreachable)))
    (if (i32.eqz (call $environ_sizes_get (i32.const 0) (i32.const 0))) (then (unreachable)))
    (if (i32.eqz (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0))) (then (unreachable)))
    (if (memory.grow (i32.const 1)) (then (unreachable)))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 65532)) (then (unreachable)))
    (call $proc_exit (i32.const 16))))
