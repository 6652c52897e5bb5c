;; Asks for randomness in all of its memory at once, for ever.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32))) (memory (export "memory") 256)
  (func (export "run") (loop (drop (call $random (i32.const 0) (i32.const 0x1000000))) (br 0))))
