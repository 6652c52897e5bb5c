;; The same in active segments that fill a table: an object for each entry.
;; refused: reached their memory limit
(module (memory (export "memory") 128) (table 9900 funcref) (func $f (export "run"))
  (repeat 40 (elem (i32.const 0) func (repeat 9900 $f))))
