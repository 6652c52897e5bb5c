;; Exports a global under the name of the host's counter.
;; refused: reserved for the host
(module (memory (export "memory") 1) (global (export "bulkhead:sandbox/fuel") (mut i64) (i64.const 0)) (func (export "run")))
