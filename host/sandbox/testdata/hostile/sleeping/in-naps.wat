;; Sleeps for a millisecond, for ever.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
  (data (i32.const 24) "\40\42\0f")
  (func (export "run") (loop (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))) (br 0))))
