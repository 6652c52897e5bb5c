;; The host function that it calls enters the instance again.
;; ends: stopped, is inside a call
(module (import "test" "reenter" (func $reenter)) (memory (export "memory") 1)
  (func (export "run") (call $reenter)))
