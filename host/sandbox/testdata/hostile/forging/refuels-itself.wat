;; Imports the function by which guests are given fuel.
;; refused: reserved for the host
(module (import "bulkhead:sandbox" "pause" (func (param i64) (result i64))) (memory (export "memory") 1) (func (export "run")))
