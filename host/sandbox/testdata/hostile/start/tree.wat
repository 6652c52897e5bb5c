;; The start function is a call tree.
;; refused: start section ran past its deadline
(module (memory (export "memory") 1)
  (func $f0)
  (repeat 100 (func $f%+ (call $f%) (call $f%)))
  (start $f100) (func (export "run")))
