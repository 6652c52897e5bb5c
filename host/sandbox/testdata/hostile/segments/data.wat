;; More data segments than are allowed.
;; refused: data segments
(module (memory (export "memory") 1) (repeat 100001 (data (i32.const 0) "x")) (func (export "run")))
