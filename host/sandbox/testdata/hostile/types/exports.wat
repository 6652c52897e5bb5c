;; More exports than are allowed.
;; refused: exports
(module (memory (export "memory") 1) (func (export "run")) (repeat 5000 (export "e%" (func 0))))
