;; A memory of 16 MiB that is full after the start: its image counts beside the instance.
;; refused: bytes of the state after its start
(module (memory (export "memory") 256)
  (func $fill (memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000)))
  (start $fill) (func (export "run")))
