;; Asks for 4 GiB of randomness: EFAULT, at once.
;; ends: trapped, unreachable
(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32))) (memory (export "memory") 1)
  (func (export "run") (if (i32.eq (call $random (i32.const 1) (i32.const -1)) (i32.const 21)) (then (unreachable)))))
