;; Writes lines for ever.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
  (data (i32.const 0) "\20\00\00\00\08\00\00\00") (data (i32.const 32) "hello..\0a")
  (func (export "run") (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (br 0))))
