;; Reads and writes at random places of 64 MiB (xorshift, Marsaglia 2003), so that
;; each access misses the caches and the first ones fault a page in.
;; memory: 64
;; ends: deadline
(module (memory (export "memory") 1024)
  (func (export "run") (local $x i32) (local $p i32)
    (local.set $x (i32.const 1))
    (loop
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (local.set $p (i32.and (local.get $x) (i32.const 0x3fffffc)))
      (i32.store (local.get $p) (i32.add (i32.load (local.get $p)) (i32.const 1)))
      (br 0))))
