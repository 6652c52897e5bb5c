;; Calls itself for ever.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $f (export "run") (call $f)))
