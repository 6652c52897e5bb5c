;; A memory that somebody else would own.
;; refused: imported memory test.m
(module (import "test" "m" (memory 1)) (export "memory" (memory 0)) (func (export "run")))
