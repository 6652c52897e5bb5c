;; More tables than a module may have.
;; refused: tables
(module (memory (export "memory") 1) (repeat 9 (table 1 funcref)) (func (export "run")))
