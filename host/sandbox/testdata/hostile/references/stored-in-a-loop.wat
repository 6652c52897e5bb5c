;; Puts a new reference into a table again and again.
;; ends: deadline
(module (memory (export "memory") 1) (table 1 funcref) (elem declare func $f) (func $f)
  (func (export "run") (loop (table.set (i32.const 0) (ref.func $f)) (br 0))))
