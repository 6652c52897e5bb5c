;; The host waits on a channel that nobody writes to.
;; ends: deadline
(module (import "test" "block" (func $block)) (memory (export "memory") 1)
  (func (export "run") (call $block)))
