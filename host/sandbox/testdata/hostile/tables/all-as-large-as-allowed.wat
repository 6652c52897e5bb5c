;; Eight tables of 200,000 entries: each is within its limit, and together they
;; are 12 MiB an instance, which count as memory.
;; refused: reached their memory limit
(module (memory (export "memory") 200) (repeat 8 (table 200000 funcref)) (func (export "run")))
