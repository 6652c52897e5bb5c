;; A data segment that does not fit.
;; refused: data segment 1 does not fit
(module (memory (export "memory") 1) (data (i32.const 0) "fits") (data (i32.const 65535) "does not") (func (export "run")))
