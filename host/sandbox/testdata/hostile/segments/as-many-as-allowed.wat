;; 100,000 passive data segments, and 10,000 of elements.
;; ends: trapped, unreachable
(module (memory (export "memory") 1) (func (export "run") (unreachable)) (repeat 100000 (data "")) (repeat 10000 (elem func)))
