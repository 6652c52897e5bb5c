;; Writes to each page of 64 MiB that all instances share until then: the kernel
;; copies each of them, two for a store across their border.
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
    (local.set $p (i32.const 4092))
    (loop
      (i64.store (local.get $p) (i64.const 2))
      (local.set $p (i32.add (local.get $p) (i32.const 8192)))
      (br_if 0 (i32.lt_u (local.get $p) (i32.const 0x4000000))))
    (unreachable)))
