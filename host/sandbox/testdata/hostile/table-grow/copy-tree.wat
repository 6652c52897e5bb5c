;; Copies a large table onto itself, in a call tree.
;; ends: deadline
(module (memory (export "memory") 1) (table 200000 funcref)
  (func $f0 (table.copy (i32.const 1) (i32.const 0) (i32.const 199999)))
  (repeat 30 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f30)))
