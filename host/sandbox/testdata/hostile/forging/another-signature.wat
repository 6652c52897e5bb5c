;; Its entry takes a parameter that the host will not give.
;; refused: exports run with another type
(module (memory (export "memory") 1) (func (export "run") (param i32)))
