;; Fills a large table again and again, from straight code.
;; ends: deadline
(module (memory (export "memory") 1) (table 200000 funcref)
  (func $f0 (repeat 100 (table.fill 0 (i32.const 0) (ref.null func) (i32.const 200000))))
  (func (export "run") (repeat 1000 (call $f0))))
