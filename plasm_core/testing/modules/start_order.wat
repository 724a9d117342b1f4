;; Writes "start" from its start function and "main" from _start.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\05\00\00\00") ;; one vector: 5 bytes at 16
  (data (i32.const 16) "start")
  (data (i32.const 32) "\30\00\00\00\04\00\00\00") ;; one vector: 4 bytes at 48
  (data (i32.const 48) "main")
  (func $begin
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 64))))
  (start $begin)
  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 64)))))
