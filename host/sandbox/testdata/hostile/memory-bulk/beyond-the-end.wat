;; Asks for 4 GiB, which does not fit: a trap, and not 4 GiB of work.
;; ends: trapped, out of bounds
(module (memory (export "memory") 1)
  (func (export "run") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0xffffffff))))
