;; A session that traps if it gets a message, and ends when there is none.
(module
  (import "bulkhead:session/v1" "next" (func $next (param i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\02\00\00\14\00\00\00\c8\00\00\00\00\00\00\00\00\00\00\00")
  (func (export "bulkhead_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "bulkhead_start") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_session") (param i32 i32) (result i64)
    (if (i64.gt_s (call $next (i32.const 4096) (i32.const 4096) (i32.const 60000)) (i64.const 4096)) (then (unreachable)))
    (i64.const 0)))
