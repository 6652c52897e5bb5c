;; The same, 200 functions deep: it would outlast the sun.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f0)
  (repeat 200 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f200)))
