;; Each is within its limit; together they are a million.
;; refused: targets of all br_tables
(module (memory (export "memory") 1)
  (func (export "run") (repeat 130 (block (br_table (repeat 8000 0) 0 (i32.const 0))))))
