;; fill 3 + 1 + 100, copy 3 + 1 + 50, init 3 + 1 + 7, data.drop 1, entry 1: 171.
(module
  (memory (export "memory") 1)
  (data $passive "seven..")
  (func (export "_start")
    i32.const 0
    i32.const 1
    i32.const 100
    memory.fill
    i32.const 200
    i32.const 0
    i32.const 50
    memory.copy
    i32.const 300
    i32.const 0
    i32.const 7
    memory.init $passive
    data.drop $passive))
