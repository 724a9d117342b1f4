;; 200,005, though nothing is filled: entry 1, 3 + 1, and the count, which reaches behind the memory.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 0
    i32.const 1
    i32.const 200000
    memory.fill))
