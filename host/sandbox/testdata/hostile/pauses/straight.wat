;; The same as copy-on-write without a loop, in one function that could pay for all at its
;; beginning.
;; memory: 64
;; ends: trapped, unreachable
(module (memory (export "memory") 1024)
  (func $fill (local $p i32)
    (loop
      (i32.store (local.get $p) (i32.const 1))
      (local.set $p (i32.add (local.get $p) (i32.const 4096)))
      (br_if 0 (i32.lt_u (local.get $p) (i32.const 0x4000000)))))
  (start $fill)
  (func (export "run") (local $p i32)
    (local.set $p (i32.const -4100))
    (repeat 8192 (i64.store (local.tee $p (i32.add (local.get $p) (i32.const 8192))) (i64.const 2)))
    (unreachable)))
