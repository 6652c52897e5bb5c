;; Exits with the code by which wazero says that a context was cancelled.
;; ends: exited, exit code 4294967295
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func (export "run") (call $exit (i32.const 0xffffffff))))
