;; Grows by -1, which is 4 billion pages.
;; ends: trapped, unreachable
(module (memory (export "memory") 1)
  (func (export "run") (if (i32.eq (memory.grow (i32.const -1)) (i32.const -1)) (then (unreachable)))))
