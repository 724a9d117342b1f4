;; Entry 1, const and if 2; then 4 in a run that is charged, not checked, and traps.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 1
    if
      i32.const 1
      i32.const 2
      i32.const 3
      i32.const 4
      unreachable
    end))
