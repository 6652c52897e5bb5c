;; Takes a reference to itself, which it may because it is exported, and calls it.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1) (table 1 funcref)
  (func $f (export "run")
    (table.set (i32.const 0) (ref.func $f))
    (call_indirect (i32.const 0))))
