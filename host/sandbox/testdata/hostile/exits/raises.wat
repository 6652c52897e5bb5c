;; Raises a signal, and goes on for ever when it is told that there are none.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "proc_raise" (func $raise (param i32) (result i32))) (memory (export "memory") 1)
  (func (export "run") (loop (drop (call $raise (i32.const 9))) (br 0))))
