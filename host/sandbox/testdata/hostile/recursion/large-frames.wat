;; Each level has as many locals as a function may, and keeps them alive.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $f (param i64) (result i64) (locals 2000 i64)
    (local.set 1000 (i64.add (local.get 0) (i64.const 1)))
    (local.set 1999 (call $f (local.get 1000)))
    (i64.add (local.get 1000) (local.get 1999)))
  (func (export "run") (drop (call $f (i64.const 0)))))
