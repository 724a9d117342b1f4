;; Traps, or does not, in the way that the first letter of the first argument names; then writes 16 bytes of
;; memory, so that those that do not trap are seen to have moved nothing.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (type $way (func))
  (memory (export "memory") 1)
  (data (i32.const 16) "\20\00\00\00\10\00\00\00")
  (data (i32.const 32) "0123456789abcdef")
  (data $passive "xyz")
  (table $ways funcref
    (elem $fill $fill_far $copy_from $copy_to $init $init_wide $init_dropped $table_copy $table_init
      $table_init_dropped $none_filled $none_copied $none_initialised $none_in_table $none_beyond
      $none_of_dropped $init_active))
  (elem $segment func $none_filled $none_filled)
  (func $fill (memory.fill (i32.const 65535) (i32.const 1) (i32.const 2)))                  ;; a
  (func $fill_far (memory.fill (i32.const 1) (i32.const 1) (i32.const -1)))                 ;; b
  (func $copy_from (memory.copy (i32.const 32) (i32.const 65535) (i32.const 2)))            ;; c
  (func $copy_to (memory.copy (i32.const 65535) (i32.const 32) (i32.const 2)))              ;; d
  (func $init (memory.init $passive (i32.const 65534) (i32.const 0) (i32.const 3)))         ;; e
  (func $init_wide (memory.init $passive (i32.const 32) (i32.const 1) (i32.const 3)))       ;; f
  (func $init_dropped                                                                       ;; g
    (data.drop $passive) (memory.init $passive (i32.const 32) (i32.const 0) (i32.const 1)))
  (func $table_copy (table.copy (i32.const 16) (i32.const 0) (i32.const 2)))                ;; h
  (func $table_init (table.init $segment (i32.const 0) (i32.const 1) (i32.const 2)))        ;; i
  (func $table_init_dropped                                                                 ;; j
    (elem.drop $segment) (table.init $segment (i32.const 0) (i32.const 0) (i32.const 1)))
  (func $none_filled (memory.fill (i32.const 65536) (i32.const 1) (i32.const 0)))           ;; k
  (func $none_copied (memory.copy (i32.const 65536) (i32.const 65536) (i32.const 0)))       ;; l
  (func $none_initialised (memory.init $passive (i32.const 65536) (i32.const 3) (i32.const 0))) ;; m
  (func $none_in_table (table.init $segment (i32.const 17) (i32.const 2) (i32.const 0)))    ;; n
  (func $none_beyond (memory.fill (i32.const 65537) (i32.const 1) (i32.const 0)))           ;; o
  (func $none_of_dropped                                                                    ;; p
    (data.drop $passive) (data.drop $passive)
    (memory.init $passive (i32.const 32) (i32.const 0) (i32.const 0)))
  (func $init_active (memory.init 1 (i32.const 32) (i32.const 0) (i32.const 1)))            ;; q
  (func (export "_start")
    (drop (call $args_get (i32.const 64) (i32.const 128)))
    (call_indirect (type $way)
      (i32.sub (i32.load8_u (i32.load (i32.const 68))) (i32.const 97)))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))
