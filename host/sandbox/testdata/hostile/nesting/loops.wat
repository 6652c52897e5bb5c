;; 1,000 loops in each other, which all go round.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop $out (nest 1000 (loop) (br_if 0 (i32.eqz (i32.const 1)))) (br $out))))
