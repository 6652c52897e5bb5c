;; Declares that its table may grow to 4 billion entries, and tries.
;; ends: trapped, unreachable
(module (memory (export "memory") 1) (table 0 0xffffffff externref)
  (func (export "run")
    (if (i32.lt_s (table.grow 0 (ref.null extern) (i32.const 0x10000000)) (i32.const 0)) (then (unreachable)))))
