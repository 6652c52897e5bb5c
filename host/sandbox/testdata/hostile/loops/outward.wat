;; Branches to the outermost of a hundred loops, past all the others.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop $out (nest 100 (loop) (br $out)))))
