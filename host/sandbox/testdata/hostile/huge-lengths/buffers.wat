;; Writes 4 billion buffers: EINVAL, at once.
;; ends: trapped, unreachable
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
  (func (export "run")
    (if (i32.eq (call $write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 16)) (i32.const 28)) (then (unreachable)))))
