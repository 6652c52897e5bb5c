;; The calls stand in the arms of ifs, where a count by blocks might miss them.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f0)
  (repeat 40 (func $f%+
    (if (i32.const 1) (then (call $f%)) (else (nop)))
    (if (i32.const 0) (then (nop)) (else (call $f%)))))
  (func (export "run") (call $f40)))
