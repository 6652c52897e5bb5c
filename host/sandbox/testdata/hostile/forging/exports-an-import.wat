;; Exports a function of the host as its own. Entered from outside it would have
;; no caller and no memory.
;; refused: exports run, which is its import
(module (import "test" "block" (func $block)) (memory (export "memory") 1)
  (export "run" (func $block)))
