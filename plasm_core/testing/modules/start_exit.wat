;; Exits with 7 from its start function. _start must not run.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $begin
    (call $proc_exit (i32.const 7)))
  (start $begin)
  (func (export "_start")
    unreachable))
