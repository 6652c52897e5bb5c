;; Declares more than one instance may have.
;; refused: pages of memory
(module (memory (export "memory") 1000) (func (export "run")))
