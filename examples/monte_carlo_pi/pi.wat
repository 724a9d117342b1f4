;; Throw points into the unit square, and count those inside the quarter of a circle.
;;
;; Arguments: a seed and a number of points, both decimal. Standard output: one line of CSV, seed,points,inside.
;; The points come from xorshift64* (Vigna 2016) over integers, so that every engine counts the same.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "usage: pi SEED POINTS\n")

  (global $end (mut i32) (i32.const 2048)) ;; where the line goes on: it is written at 1024 to 2048

  (func $usage
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 22))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 2))
    unreachable)

  ;; Read a decimal number that ends in NUL.
  (func $number (param $at i32) (result i64)
    (local $value i64) (local $digit i32)
    (if (i32.eqz (i32.load8_u (local.get $at))) (then (call $usage)))
    (loop $more
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (call $usage)))
      (local.set $value
        (i64.add (i64.mul (local.get $value) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $more (i32.load8_u (local.get $at))))
    (local.get $value))

  ;; The line is written from its end to its beginning.
  (func $put (param $byte i32)
    (global.set $end (i32.sub (global.get $end) (i32.const 1)))
    (i32.store8 (global.get $end) (local.get $byte)))

  (func $put_number (param $value i64)
    (loop $more
      (call $put (i32.add (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10))) (i32.const 48)))
      (local.set $value (i64.div_u (local.get $value) (i64.const 10)))
      (br_if $more (i64.ne (local.get $value) (i64.const 0)))))

  (func (export "_start")
    (local $seed i64) (local $points i64) (local $left i64) (local $inside i64)
    (local $state i64) (local $random i64) (local $x i64) (local $y i64)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.or (i32.ne (i32.load (i32.const 0)) (i32.const 3)) (i32.gt_u (i32.load (i32.const 4)) (i32.const 256)))
      (then (call $usage)))
    (drop (call $args_get (i32.const 256) (i32.const 512)))
    (local.set $seed (call $number (i32.load (i32.const 260))))
    (local.set $points (call $number (i32.load (i32.const 264))))
    (local.set $state ;; neighbouring seeds are to differ in all bits (splitmix64's constant)
      (i64.add (i64.mul (i64.add (local.get $seed) (i64.const 1)) (i64.const 0x9E3779B97F4A7C15)) (i64.const 1)))
    (if (i64.eqz (local.get $state)) (then (local.set $state (i64.const 1))))
    (local.set $left (local.get $points))
    (block $done
      (loop $next
        (br_if $done (i64.eqz (local.get $left)))
        (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 12))))
        (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 25))))
        (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 27))))
        (local.set $random (i64.mul (local.get $state) (i64.const 0x2545F4914F6CDD1D)))
        (local.set $x (i64.shr_u (local.get $random) (i64.const 33)))
        (local.set $y (i64.and (local.get $random) (i64.const 0x7FFFFFFF)))
        (local.set $inside
          (i64.add (local.get $inside)
            (i64.extend_i32_u
              (i64.lt_u
                (i64.add (i64.mul (local.get $x) (local.get $x)) (i64.mul (local.get $y) (local.get $y)))
                (i64.const 0x4000000000000000)))))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (br $next)))
    (call $put (i32.const 10))
    (call $put_number (local.get $inside))
    (call $put (i32.const 44))
    (call $put_number (local.get $points))
    (call $put (i32.const 44))
    (call $put_number (local.get $seed))
    (i32.store (i32.const 0) (global.get $end))
    (i32.store (i32.const 4) (i32.sub (i32.const 2048) (global.get $end)))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
