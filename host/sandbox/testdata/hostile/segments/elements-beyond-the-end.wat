;; An element segment that does not fit: nothing of it is in the table.
;; ends: trapped, invalid table access
(module (memory (export "memory") 1) (table 2 funcref)
  (elem (i32.const 1) func $f $f)
  (func $f)
  (func (export "run") (call_indirect (i32.const 1))))
