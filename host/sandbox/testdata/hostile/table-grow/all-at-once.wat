;; Asks for 4 billion entries, which would be 32 GiB.
;; ends: trapped, unreachable
(module (memory (export "memory") 1) (table 1 funcref)
  (func (export "run")
    (if (i32.lt_s (table.grow 0 (ref.null func) (i32.const -2)) (i32.const 0)) (then (unreachable)))))
