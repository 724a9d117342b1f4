;; Writes "before", then traps in the way that the first letter of the first argument names.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (type $way (func))
  (memory (export "memory") 1 2)
  (data (i32.const 16) "\20\00\00\00\07\00\00\00")
  (data (i32.const 32) "before\n")
  ;; Entry 26 is empty, and so is what lies behind 27.
  (table 28 funcref)
  (elem (i32.const 0) $unreachable $load $load_far $store $offset $beyond $empty $params $result
    $div_s_32 $div_u_32 $rem_s_32 $rem_u_32 $div_s_64 $div_u_64 $rem_s_64 $rem_u_64 $least_32 $least_64
    $nan_32 $infinity_32 $large_32 $minus_one_32 $large_64 $minus_one_64 $nan_64)
  (elem (i32.const 27) $takes)
  (global $zero (mut i32) (i32.const 0))
  (func $zero_64 (result i64) (i64.extend_i32_u (global.get $zero)))
  (func $zero_float (result f64) (f64.convert_i32_u (global.get $zero)))
  (func $takes (param i32) (result i32) (local.get 0))

  (func $unreachable unreachable)                                                       ;; a
  (func $load (drop (i32.load (i32.const 65533))))                                      ;; b
  (func $load_far (drop (i64.load8_u (i32.const -1))))                                  ;; c
  (func $store (i64.store (i32.const 65535) (i64.const -1)))                            ;; d
  (func $offset (drop (i32.load16_s offset=0xffffffff (i32.const 1))))                  ;; e
  (func $beyond (call_indirect (type $way) (i32.add (global.get $zero) (i32.const 28))));; f
  (func $empty (call_indirect (type $way) (i32.add (global.get $zero) (i32.const 26)))) ;; g
  (func $params (drop (call_indirect (param i64) (result i32) (i64.const 0) (i32.const 27)))) ;; h
  (func $result (call_indirect (param i32) (i32.const 0) (i32.const 27)))               ;; i
  (func $div_s_32 (drop (i32.div_s (i32.const 1) (global.get $zero))))                  ;; j
  (func $div_u_32 (drop (i32.div_u (i32.const 1) (global.get $zero))))                  ;; k
  (func $rem_s_32 (drop (i32.rem_s (i32.const 1) (global.get $zero))))                  ;; l
  (func $rem_u_32 (drop (i32.rem_u (i32.const 1) (global.get $zero))))                  ;; m
  (func $div_s_64 (drop (i64.div_s (i64.const 1) (call $zero_64))))                     ;; n
  (func $div_u_64 (drop (i64.div_u (i64.const 1) (call $zero_64))))                     ;; o
  (func $rem_s_64 (drop (i64.rem_s (i64.const 1) (call $zero_64))))                     ;; p
  (func $rem_u_64 (drop (i64.rem_u (i64.const 1) (call $zero_64))))                     ;; q
  (func $least_32                                                                       ;; r
    (drop (i32.div_s (i32.const 0x80000000) (i32.sub (global.get $zero) (i32.const 1)))))
  (func $least_64                                                                       ;; s
    (drop (i64.div_s (i64.const 0x8000000000000000) (i64.sub (call $zero_64) (i64.const 1)))))
  (func $nan_32                                                                         ;; t
    (drop (i32.trunc_f64_s (f64.div (call $zero_float) (call $zero_float)))))
  (func $infinity_32 (drop (i32.trunc_f64_u (f64.div (f64.const 1) (call $zero_float))))) ;; u
  (func $large_32 (drop (i32.trunc_f64_s (f64.add (f64.const 0x1p31) (call $zero_float))))) ;; v
  (func $minus_one_32 (drop (i32.trunc_f64_u (f64.sub (call $zero_float) (f64.const 1))))) ;; w
  (func $large_64 (drop (i64.trunc_f64_s (f64.add (f64.const 0x1p63) (call $zero_float))))) ;; x
  (func $minus_one_64                                                                   ;; y
    (drop (i64.trunc_f32_u (f32.sub (f32.convert_i32_u (global.get $zero)) (f32.const 1)))))
  (func $nan_64                                                                         ;; z
    (drop (i64.trunc_f32_s (f32.demote_f64 (f64.div (call $zero_float) (call $zero_float))))))

  (func (export "_start")
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (drop (call $args_get (i32.const 64) (i32.const 128)))
    (call_indirect (type $way)
      (i32.sub (i32.load8_u (i32.load (i32.const 68))) (i32.const 97)))))
