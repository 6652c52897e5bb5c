;; Five bytes that declare 4 billion locals.
;; refused: locals
(module (memory (export "memory") 1) (func (export "run") (locals 0xffffffff i64)))
