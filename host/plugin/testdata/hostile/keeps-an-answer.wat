;; A small guest asks a capability, has no room for what it answers, and sleeps
;; without taking it.
(module (import "bulkhead:helm/v1" "fetch" (func $fetch (param i32 i32 i32 i32) (result i64)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\02\00\00\14\00\00\00\c8\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 64) "\01\01\00\00\22\00\00\00\03\00\00\00GET\06\00\00\00//dev/\00\00\00\00\00\00\00\00\00")
  (data (i32.const 144) "\01\00\00\00\00\00\00\00\00\00\00\10\00\00\00\00")
  (func (export "bulkhead_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "bulkhead_start") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_handle") (param i32 i32) (result i64)
    (drop (call $fetch (i32.const 64) (i32.const 0x22) (i32.const 0) (i32.const 0)))
    (loop (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 512))) (br 0))
    (i64.const 20)))
