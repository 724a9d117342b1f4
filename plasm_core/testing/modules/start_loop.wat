;; Its start function never ends.
(module
  (memory (export "memory") 1)
  (func $begin
    loop
      br 0
    end)
  (start $begin)
  (func (export "_start")))
