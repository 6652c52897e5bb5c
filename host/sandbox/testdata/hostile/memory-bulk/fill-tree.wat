;; Fills of the whole memory as the leaves of a call tree.
;; ends: deadline
(module (memory (export "memory") 256)
  (func $f0 (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000)))
  (repeat 30 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f30)))
