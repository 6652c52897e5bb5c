;; The start function waits for the host for ever.
;; refused: start section ran past its deadline
(module (import "test" "block" (func $block)) (memory (export "memory") 1)
  (start $block) (func (export "run")))
