;; Too many locals, in runs that are each small.
;; refused: locals
(module (memory (export "memory") 1) (func (export "run") (repeat 300 (locals 7 i64) (locals 1 i32))))
