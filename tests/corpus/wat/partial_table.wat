;; Calls an entry of a table that its segments leave empty, at its end.
(module
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 0) $nothing $nothing)
  (func $nothing)
  (func (export "_start")
    (call_indirect (i32.const 1))
    (call_indirect (i32.const 3))))
