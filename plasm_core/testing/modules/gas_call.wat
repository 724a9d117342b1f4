;; 12: _start 1 + call 1, $two 1 + 2; then index and call_indirect 2, $two 3; then 2.
(module
  (type $number (func (result i32)))
  (memory (export "memory") 1)
  (table 1 funcref)
  (elem (i32.const 0) $two)
  (func $two (result i32)
    i32.const 40
    i32.eqz
    return)
  (func (export "_start")
    call $two
    drop
    i32.const 0
    call_indirect (type $number)
    drop
    i32.const 1
    i32.const 2
    drop
    drop))
