;; A function of 300 parameters.
;; refused: parameters
(module (memory (export "memory") 1) (func (export "run")) (func (param (repeat 300 i64))))
