;; Never ends its line, so that somebody has to keep it.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 2)
  (data (i32.const 0) "\00\00\00\00\00\00\01\00")
  (func (export "run") (loop (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16))) (br 0))))
