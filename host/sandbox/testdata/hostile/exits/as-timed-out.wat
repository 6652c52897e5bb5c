;; Exits with the code by which wazero says that a deadline has passed.
;; ends: exited, exit code 4026531839
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func (export "run") (call $exit (i32.const 0xefffffff))))
