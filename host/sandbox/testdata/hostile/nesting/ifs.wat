;; 2,000 conditions in each other, in a loop.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop $out (nest 2000 (block) (br_if 0 (i32.const 0))) (br $out))))
