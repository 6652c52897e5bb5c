;; More imports than are allowed.
;; refused: imports
(module (repeat 1001 (import "test" "echo" (func (param i32) (result i32)))) (memory (export "memory") 1) (func (export "run")))
