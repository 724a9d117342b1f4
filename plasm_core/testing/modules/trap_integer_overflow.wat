;; Divides the least i32 by -1.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 0x80000000
    i32.const -1
    i32.div_s
    drop))
