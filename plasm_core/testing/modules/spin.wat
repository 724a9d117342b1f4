;; Writes a byte three times, then loops without end and calls the host no more.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\01\00\00\00.") ;; one vector: 1 byte at 8
  (func (export "_start") (local $times i32)
    loop $write
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (local.set $times (i32.add (local.get $times) (i32.const 1)))
      (br_if $write (i32.lt_u (local.get $times) (i32.const 3)))
    end
    loop $spin
      br $spin
    end))
