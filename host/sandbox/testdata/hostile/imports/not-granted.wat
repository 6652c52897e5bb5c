;; A function that nobody gave it.
;; refused: imports bulkhead:kube/v1.fetch, which is not available to it
(module (import "bulkhead:kube/v1" "fetch" (func (param i32 i32 i32 i32) (result i64))) (memory (export "memory") 1) (func (export "run")))
