;; Writes 64 KiB as often as standard input says: u32 descriptor, u32 times. Words count up from 0.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 65536) "\10\00\01\00\08\00\00\00") ;; one vector: 8 bytes at 65552
  (data (i32.const 65568) "\00\00\00\00\00\00\01\00") ;; one vector: 65536 bytes at 0
  (func (export "_start") (local $at i32)
    (drop (call $fd_read (i32.const 0) (i32.const 65536) (i32.const 1) (i32.const 65544)))
    loop $fill
      (i32.store (local.get $at) (i32.shr_u (local.get $at) (i32.const 2)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br_if $fill (i32.lt_u (local.get $at) (i32.const 65536)))
    end
    loop $write
      (drop (call $fd_write (i32.load (i32.const 65552)) (i32.const 65568) (i32.const 1) (i32.const 65544)))
      (i32.store (i32.const 65556) (i32.sub (i32.load (i32.const 65556)) (i32.const 1)))
      (br_if $write (i32.load (i32.const 65556)))
    end))
