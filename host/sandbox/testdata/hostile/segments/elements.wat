;; More elements, in many segments, than are allowed.
;; refused: elements of all segments
(module (memory (export "memory") 1) (table 1 funcref) (func $f (export "run"))
  (repeat 50 (elem func (repeat 10000 $f))))
