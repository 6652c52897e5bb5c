;; Each call passes 200 parameters.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $f (param (repeat 200 i64)) (call $f (repeat 200 (local.get 0))))
  (func (export "run") (call $f (repeat 200 (i64.const 1)))))
