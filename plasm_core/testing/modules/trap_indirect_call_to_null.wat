;; Calls an element that no segment has set.
(module
  (memory (export "memory") 1)
  (type $empty (func))
  (table 2 funcref)
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func (export "_start")
    i32.const 1
    call_indirect (type $empty)))
