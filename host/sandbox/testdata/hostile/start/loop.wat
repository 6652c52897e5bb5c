;; The start function does not return.
;; refused: start section ran past its deadline
(module (memory (export "memory") 1)
  (func $s (loop (br 0))) (start $s) (func (export "run")))
