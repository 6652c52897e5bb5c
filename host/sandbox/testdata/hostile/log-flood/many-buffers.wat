;; A thousand buffers in one call, each the whole memory.
;; ends: deadline
(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 256)
  (func (export "run") (local $i i32)
    (loop $more
      (i32.store offset=4 (local.get $i) (i32.const 0x1000000))
      (local.set $i (i32.add (local.get $i) (i32.const 8)))
      (br_if $more (i32.lt_u (local.get $i) (i32.const 8192))))
    (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 16384))) (br 0))))
