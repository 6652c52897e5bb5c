;; The start function exits with the code that wazero itself uses for a timeout.
;; refused: start section exited: exit code 4026531839
(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32))) (memory (export "memory") 1)
  (func $s (call $exit (i32.const 0xefffffff))) (start $s) (func (export "run")))
