;; The start function traps.
;; refused: start section trapped: wasm error: unreachable
(module (memory (export "memory") 1)
  (func $s (unreachable)) (start $s) (func (export "run")))
