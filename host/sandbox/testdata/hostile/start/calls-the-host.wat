;; The start section is the host's own function.
;; refused: took too long
(module (import "test" "block" (func $block)) (memory (export "memory") 1)
  (start $block) (func (export "run")))
