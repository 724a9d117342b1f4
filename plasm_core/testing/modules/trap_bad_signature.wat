;; Calls a function without a result as one that has one.
(module
  (memory (export "memory") 1)
  (type $number (func (result i32)))
  (table 1 funcref)
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func (export "_start")
    i32.const 0
    call_indirect (type $number)
    drop))
