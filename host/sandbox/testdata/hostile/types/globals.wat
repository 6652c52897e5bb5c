;; More globals than are allowed.
;; refused: globals
(module (memory (export "memory") 1) (repeat 5000 (global i32 (i32.const 0))) (func (export "run")))
