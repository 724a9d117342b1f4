;; Asks for all the pages there are, again and again: each time costs its operand, though it is refused.
(module
  (memory (export "memory") 1)
  (func (export "_start") (local $i i32)
    (loop $again
      (drop (memory.grow (i32.const 65536)))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10))))))
