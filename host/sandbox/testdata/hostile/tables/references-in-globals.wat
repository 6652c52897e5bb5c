;; A reference to a function in each global: an object each.
;; ends: trapped, unreachable
(module (memory (export "memory") 1) (func $f (export "run") (unreachable)) (repeat 4096 (global funcref (ref.func $f))))
