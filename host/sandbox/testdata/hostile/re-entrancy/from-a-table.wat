;; The same through a table, deep in calls.
;; ends: stopped, is inside a call
(module (import "test" "reenter" (func $reenter)) (memory (export "memory") 1) (table 1 funcref)
  (elem (i32.const 0) func $reenter)
  (func $f (param i32)
    (if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))) (else (call_indirect (i32.const 0)))))
  (func (export "run") (call $f (i32.const 100))))
