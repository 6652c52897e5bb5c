;; Spends it in a function that has neither loop nor recursion.
;; fuel: 100000
;; ends: exhausted, fuel is spent
(module (memory (export "memory") 1)
  (func $f0 (repeat 1000 (drop (i32.const 1))))
  (repeat 20 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f20)))
