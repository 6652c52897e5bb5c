;; A session that asks for a message without waiting for one, for ever.
(module
  (import "bulkhead:session/v1" "next" (func $next (param i32 i32 i32) (result i64)))
  (memory (export "memory") 260)
  (data (i32.const 0) "\01\02\00\00\14\00\00\00\c8\00\00\00\00\00\00\00\00\00\00\00")
  (data (i32.const 64) "\01\01\00\00\22\00\00\00\03\00\00\00GET\06\00\00\00//dev/\00\00\00\00\00\00\00\00\00")
  (func (export "bulkhead_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "bulkhead_start") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_session") (param i32 i32) (result i64)
    (loop (drop (call $next (i32.const 4096) (i32.const 4096) (i32.const 0))) (br 0))
    (i64.const 0)))
