;; A hundred calls in each function, twenty deep.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f0 (drop (i32.const 0)))
  (repeat 20 (func $f%+ (repeat 100 (call $f%))))
  (func (export "run") (call $f20)))
