;; As many globals as are allowed, each of which the host has to put back.
;; ends: trapped, unreachable
(module (memory (export "memory") 1) (func (export "run") (unreachable)) (repeat 4096 (global (mut i64) (i64.const 0))))
