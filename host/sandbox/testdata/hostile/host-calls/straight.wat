;; A tree of host calls without a loop.
;; ends: deadline
(module (import "test" "echo" (func $echo (param i32) (result i32))) (memory (export "memory") 1)
  (func $f0 (drop (call $echo (i32.const 1))))
  (repeat 40 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f40)))
