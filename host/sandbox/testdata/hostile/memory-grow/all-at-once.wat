;; Asks for 4 GiB until it gets them.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop (br_if 0 (i32.lt_s (memory.grow (i32.const 65535)) (i32.const 0))))))
