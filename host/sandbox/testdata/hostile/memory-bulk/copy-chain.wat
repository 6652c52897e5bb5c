;; Straight code of copies that overlap by all but a byte.
;; ends: deadline
(module (memory (export "memory") 256)
  (func $f0 (repeat 100 (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xffffff))))
  (func (export "run") (repeat 100 (call $f0))))
