;; A loop that jumps through two thousand targets.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (local $i i32)
    (loop $l
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (block (br_table (repeat 1000 0 1) $l (i32.and (local.get $i) (i32.const 2047))))
      (br $l))))
