;; A function that is there, with parameters that it does not have.
;; refused: with another type
(module (import "test" "echo" (func (param i64) (result i64))) (memory (export "memory") 1) (func (export "run")))
