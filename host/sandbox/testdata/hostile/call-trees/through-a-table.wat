;; A call tree of which no call is direct.
;; ends: deadline
(module (memory (export "memory") 1) (table 41 funcref)
  (func $f0)
  (repeat 40 (func $f%+ (call_indirect (i32.const %)) (call_indirect (i32.const %))))
  (elem (i32.const 0) func (repeat 41 $f%))
  (func (export "run") (call $f40)))
