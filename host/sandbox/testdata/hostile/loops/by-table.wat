;; Goes round by br_table, so that no br names the loop.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop $l (br_table $l $l $l (i32.const 7)))))
