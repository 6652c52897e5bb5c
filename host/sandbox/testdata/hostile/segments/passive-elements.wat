;; 396,000 entries of passive segments: 15 MB in each instance, which count as its memory.
;; refused: reached their memory limit
(module (memory (export "memory") 128) (func $f (export "run"))
  (repeat 40 (elem func (repeat 9900 $f))))
