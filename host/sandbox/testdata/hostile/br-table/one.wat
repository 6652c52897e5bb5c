;; A br_table whose targets are more than the module's other code.
;; refused: targets of a br_table
(module (memory (export "memory") 1)
  (func (export "run") (br_table (repeat 9000 0) 0 (i32.const 0))))
