;; Loads four bytes of which the last lies behind the memory.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 65533
    i32.load
    drop))
