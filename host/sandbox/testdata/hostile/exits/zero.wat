;; Exits as if all were well, in the middle of a call.
;; ends: exited, exit code 0
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func (export "run") (call $exit (i32.const 0))))
