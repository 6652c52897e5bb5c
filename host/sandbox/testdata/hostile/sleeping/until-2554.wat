;; Sleeps until a time that is far away.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
  (data (i32.const 24) "\ff\ff\ff\ff\ff\ff\ff\ff\00\00\00\00\00\00\00\00\01\00") ;; absolute
  (func (export "run") (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
