;; Truncates a NaN.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    f32.const nan
    i32.trunc_f32_s
    drop))
