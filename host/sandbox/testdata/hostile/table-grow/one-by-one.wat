;; A table that grows by an entry at a time. wazero bounds memories only.
;; ends: deadline
(module (memory (export "memory") 1) (table 1 funcref)
  (func (export "run") (loop (drop (table.grow 0 (ref.null func) (i32.const 1))) (br 0))))
