;; Calls an element that no segment has set, between two that one has.
(module
  (memory (export "memory") 1)
  (type $empty (func))
  (table 3 funcref)
  (elem (i32.const 0) $nothing)
  (elem (i32.const 2) $nothing)
  (func $nothing)
  (func (export "_start")
    i32.const 1
    call_indirect (type $empty)))
