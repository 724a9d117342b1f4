;; Throws a null reference to an exception.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    ref.null exn
    throw_ref))
