;; Data segments of 8 MiB, which the host keeps because each call gets a new instance: they
;; count as the module's memory, beside 16 MiB of an instance.
;; refused: reached their memory limit
(module (memory (export "memory") 256) (table 1 funcref)
  (data (i32.const 0) (repeat 524288 "0123456789abcdef"))
  (func (export "run") (table.set 0 (i32.const 0) (ref.null func))))
