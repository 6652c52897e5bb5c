;; One function, imported as often as imports are allowed.
;; ends: trapped, unreachable
(module (repeat 1000 (import "test" "echo" (func (param i32) (result i32)))) (memory (export "memory") 1) (func (export "run") (unreachable)))
