;; One fill costs more than the call has.
;; fuel: 10000
;; ends: exhausted, fuel is spent
(module (memory (export "memory") 16) (func (export "run") (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x100000)) (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x100000))))
