;; Writes elements into a table, in a call tree.
;; ends: deadline
(module (memory (export "memory") 1) (table 10000 funcref) (func $e)
  (elem $s func (repeat 10000 $e))
  (func $f0 (table.init $s (i32.const 0) (i32.const 0) (i32.const 10000)))
  (repeat 40 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f40)))
