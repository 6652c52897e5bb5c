;; Two functions that call each other.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $even (export "run") (call $odd))
  (func $odd (call $even)))
