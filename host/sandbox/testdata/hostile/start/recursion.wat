;; The start function recurses.
;; refused: start section trapped: calls are nested too deep
(module (memory (export "memory") 1)
  (func $s (call $s)) (start $s) (func (export "run")))
