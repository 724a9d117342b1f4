;; Traps in the way that the first byte of standard input names.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (type $variant (func))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\01\00\00\00") ;; one vector: 1 byte at 16
  (table 31 funcref)
  (elem (i32.const 0) $v0 $v1 $v2 $v3 $v4 $v5 $v6 $v7 $v8 $v9 $v10 $v11 $v12 $v13 $v14 $v15 $v16 $v17 $v18 $v19 $v20 $v21 $v22 $v23 $v24 $v25 $v26 $v27 $v28 $v29 $v30)
  (func $v0 (drop (i32.div_s (i32.const 7) (i32.const 0)))) ;; 0: i32.div_s by zero: integer_division_by_zero
  (func $v1 (drop (i32.div_u (i32.const 7) (i32.const 0)))) ;; 1: i32.div_u by zero: integer_division_by_zero
  (func $v2 (drop (i32.rem_s (i32.const 7) (i32.const 0)))) ;; 2: i32.rem_s by zero: integer_division_by_zero
  (func $v3 (drop (i32.rem_u (i32.const 7) (i32.const 0)))) ;; 3: i32.rem_u by zero: integer_division_by_zero
  (func $v4 (drop (i64.div_s (i64.const 7) (i64.const 0)))) ;; 4: i64.div_s by zero: integer_division_by_zero
  (func $v5 (drop (i64.div_u (i64.const 7) (i64.const 0)))) ;; 5: i64.div_u by zero: integer_division_by_zero
  (func $v6 (drop (i64.rem_s (i64.const 7) (i64.const 0)))) ;; 6: i64.rem_s by zero: integer_division_by_zero
  (func $v7 (drop (i64.rem_u (i64.const 7) (i64.const 0)))) ;; 7: i64.rem_u by zero: integer_division_by_zero
  (func $v8 (drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))) ;; 8: i64.div_s of the least by -1: integer_overflow
  (func $v9 (drop (i32.trunc_f32_s (f32.const 2147483648)))) ;; 9: i32.trunc_f32_s above: integer_overflow
  (func $v10 (drop (i32.trunc_f32_u (f32.const -1)))) ;; 10: i32.trunc_f32_u below: integer_overflow
  (func $v11 (drop (i32.trunc_f32_u (f32.const inf)))) ;; 11: i32.trunc_f32_u of infinity: integer_overflow
  (func $v12 (drop (i32.trunc_f32_u (f32.const nan)))) ;; 12: i32.trunc_f32_u of NaN: bad_conversion_to_integer
  (func $v13 (drop (i32.trunc_f64_s (f64.const 2147483648)))) ;; 13: i32.trunc_f64_s above: integer_overflow
  (func $v14 (drop (i32.trunc_f64_u (f64.const -1)))) ;; 14: i32.trunc_f64_u below: integer_overflow
  (func $v15 (drop (i32.trunc_f64_u (f64.const inf)))) ;; 15: i32.trunc_f64_u of infinity: integer_overflow
  (func $v16 (drop (i32.trunc_f64_u (f64.const nan)))) ;; 16: i32.trunc_f64_u of NaN: bad_conversion_to_integer
  (func $v17 (drop (i64.trunc_f32_s (f32.const 9223372036854775808)))) ;; 17: i64.trunc_f32_s above: integer_overflow
  (func $v18 (drop (i64.trunc_f32_u (f32.const -1)))) ;; 18: i64.trunc_f32_u below: integer_overflow
  (func $v19 (drop (i64.trunc_f32_u (f32.const inf)))) ;; 19: i64.trunc_f32_u of infinity: integer_overflow
  (func $v20 (drop (i64.trunc_f32_u (f32.const nan)))) ;; 20: i64.trunc_f32_u of NaN: bad_conversion_to_integer
  (func $v21 (drop (i64.trunc_f64_s (f64.const 9223372036854775808)))) ;; 21: i64.trunc_f64_s above: integer_overflow
  (func $v22 (drop (i64.trunc_f64_u (f64.const -1)))) ;; 22: i64.trunc_f64_u below: integer_overflow
  (func $v23 (drop (i64.trunc_f64_u (f64.const inf)))) ;; 23: i64.trunc_f64_u of infinity: integer_overflow
  (func $v24 (drop (i64.trunc_f64_u (f64.const nan)))) ;; 24: i64.trunc_f64_u of NaN: bad_conversion_to_integer
  (func $v25 (drop (i64.load (i32.const 65529)))) ;; 25: i64.load across the end: memory_out_of_bounds
  (func $v26 (drop (i32.load8_u (i32.const 65536)))) ;; 26: i32.load8_u behind the end: memory_out_of_bounds
  (func $v27 (drop (f64.load (i32.const -1)))) ;; 27: f64.load at the last address: memory_out_of_bounds
  (func $v28 (drop (i32.load8_u offset=4294967295 (i32.const -1)))) ;; 28: i32.load8_u, address and offset beyond 4 GiB: memory_out_of_bounds
  (func $v29 (i32.store8 (i32.const 65536) (i32.const 1))) ;; 29: i32.store8 behind the end: memory_out_of_bounds
  (func $v30 (i64.store (i32.const 65529) (i64.const 1))) ;; 30: i64.store across the end: memory_out_of_bounds
  (func (export "_start")
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call_indirect (type $variant) (i32.load8_u (i32.const 16)))))
