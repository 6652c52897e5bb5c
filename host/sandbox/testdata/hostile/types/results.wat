;; A function of 100 results.
;; refused: results
(module (memory (export "memory") 1) (func (export "run")) (func (result (repeat 100 i64)) (repeat 100 (i64.const 0))))
