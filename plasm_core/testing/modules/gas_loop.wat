;; 53: the first run 3 (entry 1, two instructions), then ten times 5.
(module
  (memory (export "memory") 1)
  (func (export "_start") (local i32)
    i32.const 10
    local.set 0
    loop
      local.get 0
      i32.const 1
      i32.sub
      local.tee 0
      br_if 0
    end))
