;; grow 2 + 1 + 20, fill 3 + 1 + 10, copy 3 + 1 + 5, size 1, entry 1: 48.
;; Then a growth beyond the million that all tables share, refused: 2 + 1 + 2,000,000.
(module
  (memory (export "memory") 1)
  (table $t 4 funcref)
  (func (export "_start")
    ref.null func
    i32.const 20
    table.grow $t
    drop
    i32.const 0
    ref.null func
    i32.const 10
    table.fill $t
    i32.const 2
    i32.const 8
    i32.const 5
    table.copy $t $t
    table.size $t
    drop
    ref.null func
    i32.const 2000000
    table.grow $t
    i32.const -1
    i32.ne
    if
      unreachable
    end))
