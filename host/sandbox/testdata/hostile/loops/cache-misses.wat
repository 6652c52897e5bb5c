;; Each turn reads memory a page and a bit further on, so that it is as slow as a turn can be.
;; ends: deadline
(module (memory (export "memory") 256)
  (func (export "run") (local $p i32)
    (loop
      (local.set $p (i32.and (i32.add (local.get $p) (i32.const 4160)) (i32.const 0xfffffc)))
      (i32.store (local.get $p) (i32.add (i32.load (local.get $p)) (i32.const 1)))
      (br 0))))
