;; fd_write of two vectors with 10 bytes: 4 + 1 + 1,000 + 16 + 10; sched_yield 1 + 1,000; entry 1: 2,033.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\20\00\00\00\04\00\00\00\24\00\00\00\06\00\00\00")
  (data (i32.const 32) "0123456789")
  (func (export "_start")
    i32.const 1
    i32.const 0
    i32.const 2
    i32.const 64
    call $fd_write
    drop
    call $sched_yield
    drop))
