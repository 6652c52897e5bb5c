;; A loop with a fuel of its own.
;; fuel: 1000000
;; ends: exhausted, fuel is spent
(module (memory (export "memory") 1) (func (export "run") (loop (br 0))))
