;; Yields for ever, which is a call of the host each time.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32))) (memory (export "memory") 1)
  (func (export "run") (loop (drop (call $yield)) (br 0))))
