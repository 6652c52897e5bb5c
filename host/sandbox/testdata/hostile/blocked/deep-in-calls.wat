;; The same, a thousand calls down.
;; ends: deadline
(module (import "test" "block" (func $block)) (memory (export "memory") 1)
  (func $f (param i32)
    (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (call $block))))
  (func (export "run") (call $f (i32.const 1000))))
