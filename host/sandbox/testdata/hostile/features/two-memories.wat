;; A second memory, that no budget would count.
;; refused: more than one memory
(module (memory (export "memory") 1) (memory 1) (func (export "run")))
