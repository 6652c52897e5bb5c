;; Takes references to ten thousand functions, in a loop.
;; ends: deadline
(module (memory (export "memory") 1) (repeat 10000 (func $f%))
  (elem declare func (repeat 10000 $f%))
  (func (export "run") (loop (repeat 10000 (drop (ref.func $f%))) (br 0))))
