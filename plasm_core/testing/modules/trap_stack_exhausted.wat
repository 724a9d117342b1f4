;; Recurses without end, in functions of 4 units.
(module
  (memory (export "memory") 1)
  (func $deeper
    call $deeper)
  (func (export "_start")
    call $deeper))
