;; Offset and length add up to more than 32 bits.
;; ends: trapped, out of bounds
(module (memory (export "memory") 1)
  (func (export "run") (memory.copy (i32.const 0xfffffff0) (i32.const 0) (i32.const 0x20))))
