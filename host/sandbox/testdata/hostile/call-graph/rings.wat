;; 20,000 functions in one ring, each of which also calls itself.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (repeat 20000 (func $f% (call $f%) (call $f%+))) (func $f20000 (call $f0))
  (func (export "run") (call $f0)))
