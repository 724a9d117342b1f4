;; Traps in its start function.
(module
  (memory (export "memory") 1)
  (func $begin
    unreachable)
  (start $begin)
  (func (export "_start")))
