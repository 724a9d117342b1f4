;; Throws an exception that nothing catches.
(module
  (memory (export "memory") 1)
  (tag $nothing)
  (func (export "_start")
    throw $nothing))
