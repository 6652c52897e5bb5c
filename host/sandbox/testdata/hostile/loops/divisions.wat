;; The slowest arithmetic there is, 30 times a turn.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (local $v i64)
    (local.set $v (i64.const -1))
    (loop
      (repeat 30 (local.set $v (i64.or (i64.const -2) (i64.div_u (local.get $v) (i64.or (local.get $v) (i64.const 3))))))
      (br 0))))
