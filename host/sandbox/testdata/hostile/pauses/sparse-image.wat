;; Only the last byte of 64 MiB is there when the state is captured. Each page
;; that is written is made twice, in the image and in the instance.
;; memory: 64
;; ends: trapped, unreachable
(module (memory (export "memory") 1024) (data (i32.const 0x3ffffff) "x")
  (func (export "run") (local $p i32)
    (local.set $p (i32.const 4092))
    (loop
      (i64.store (local.get $p) (i64.const 2))
      (local.set $p (i32.add (local.get $p) (i32.const 8192)))
      (br_if 0 (i32.lt_u (local.get $p) (i32.const 0x3fff000))))
    (unreachable)))
