;; A ring of a thousand functions.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (repeat 1000 (func $f% (call $f%+)))
  (func $f1000 (call $f0))
  (func (export "run") (call $f0)))
