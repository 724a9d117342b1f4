;; Traps in the way that the first letter of the first argument names.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (type $way (func))
  (memory (export "memory") 1)
  (table $ways funcref (elem $get $set $fill $copy $empty $beyond $grown $other_type $emptied))
  (table $other 3 funcref)
  (table $things 2 4 externref)
  (elem (table $other) (i32.const 0) func $takes)
  (func $takes (param i32))
  (func $get (drop (table.get $things (i32.const 2))))                                      ;; a
  (func $set (table.set $other (i32.const -1) (ref.null func)))                             ;; b
  (func $fill (table.fill $things (i32.const 1) (ref.null extern) (i32.const 2)))           ;; c
  (func $copy (table.copy $other $ways (i32.const 0) (i32.const 6) (i32.const 4)))          ;; d
  (func $empty (call_indirect $other (type $way) (i32.const 1)))                            ;; e
  (func $beyond (call_indirect $other (type $way) (i32.const 3)))                           ;; f
  (func $grown                                                                              ;; g
    (drop (table.grow $other (ref.func $takes) (i32.const 2)))
    (call_indirect $other (type $way) (i32.const 4)))
  (func $other_type (call_indirect $other (param i64) (i64.const 0) (i32.const 0)))         ;; h
  (func $emptied                                                                            ;; i
    (table.set $other (i32.const 0) (ref.null func))
    (call_indirect $other (param i32) (i32.const 0) (i32.const 0)))
  (func (export "_start")
    (drop (call $args_get (i32.const 64) (i32.const 128)))
    (call_indirect $ways (type $way)
      (i32.sub (i32.load8_u (i32.load (i32.const 68))) (i32.const 97)))))
