;; More functions than are allowed.
;; refused: functions
(module (memory (export "memory") 1) (repeat 60001 (func)) (func (export "run")))
