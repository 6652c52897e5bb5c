;; Straight code that fills 16 MiB a hundred times, and nothing but calls of it.
;; ends: deadline
(module (memory (export "memory") 256)
  (func $f0 (repeat 100 (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000))))
  (func (export "run") (repeat 100 (call $f0))))
