;; 4: entry 1, three instructions that cost.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    nop
    i32.const 1
    i32.const 2
    i32.add
    drop
    block
      nop
    end))
