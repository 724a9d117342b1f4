;; 6, though it traps at the third instruction: entry 1 and the whole run 5.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 1
    i32.const 0
    i32.div_u
    drop
    i32.const 5
    drop
    i32.const 6
    drop))
