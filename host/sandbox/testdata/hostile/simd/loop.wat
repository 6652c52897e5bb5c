;; Vector arithmetic for ever.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (local $v v128)
    (loop (local.set $v (i32x4.add (local.get $v) (i32x4.splat (i32.const 3)))) (br 0))))
