;; Two hundred functions with as many locals as are allowed, each called once a turn.
;; ends: deadline
(module (memory (export "memory") 1)
  (repeat 200 (func $f% (locals 2048 i64) (local.set 2047 (i64.const 1)) (loop (nop))))
  (func (export "run") (loop (repeat 200 (call $f%)) (br 0))))
