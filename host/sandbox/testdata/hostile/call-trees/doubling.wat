;; 2^33 calls and no loop, where an engine would look up.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f0 (i32.store (i32.const 0) (i32.const 1)))
  (repeat 33 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f33)))
