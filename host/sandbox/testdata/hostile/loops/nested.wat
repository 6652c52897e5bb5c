;; Only the innermost of a hundred loops goes round.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (nest 100 (loop) (loop $in (br $in)))))
