;; A loop of 30,000 instructions: each time around is long by itself.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (loop (repeat 10000 (drop (i32.const 1)) (nop)) (br 0))))
