;; An import in a table, called for ever.
;; ends: deadline
(module (import "test" "echo" (func $echo (param i32) (result i32))) (memory (export "memory") 1) (table 1 funcref)
  (elem (i32.const 0) func $echo)
  (func (export "run") (loop (drop (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0))) (br 0))))
