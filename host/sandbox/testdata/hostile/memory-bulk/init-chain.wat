;; Writes a passive segment again and again, from straight code.
;; ends: deadline
(module (memory (export "memory") 16)
  (data (repeat 4096 "0123456789abcdef"))
  (func $f0 (repeat 100 (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 65536))))
  (repeat 24 (func $f%+ (call $f%) (call $f%)))
  (func (export "run") (call $f24)))
