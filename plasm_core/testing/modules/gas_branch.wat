;; 9: entry 1, const and if 2; else 1; behind its end 2 with br_if, taken; behind the block 3.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    block
      i32.const 0
      if
        i32.const 1
        i32.const 2
        i32.const 3
        drop
        drop
        drop
      else
        i32.const 4
        drop
      end
      i32.const 1
      br_if 0
      i32.const 5
      i32.const 6
      drop
      drop
    end
    i32.const 7
    i32.const 8
    i32.add
    drop))
