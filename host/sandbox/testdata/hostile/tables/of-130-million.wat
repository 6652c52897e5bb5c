;; A few bytes that want a gigabyte.
;; refused: entries of a table
(module (memory (export "memory") 1) (table 130000000 funcref) (func (export "run")))
