;; 7: entry 1, const and memory.grow 2 + 3 pages; then 1. The growth is granted.
;; Then 70,000 pages, which are not: 2 + 70,000.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    i32.const 3
    memory.grow
    drop
    memory.size
    drop
    i32.const 70000
    memory.grow
    drop))
