;; Calls itself through a table.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1) (table 1 funcref)
  (func $f (export "run") (call_indirect (i32.const 0)))
  (elem (i32.const 0) func $f))
