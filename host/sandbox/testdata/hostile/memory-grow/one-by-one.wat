;; Asks for a page at a time, for ever. Beyond its budget it gets none.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop (drop (memory.grow (i32.const 1))) (br 0))))
