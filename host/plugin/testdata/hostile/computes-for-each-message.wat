;; A session that computes for some 50 ms for each message of its client, until one
;; does not come. It is honest.
(module
  (import "bulkhead:session/v1" "next" (func $next (param i32 i32 i32) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\01\02\00\00\14\00\00\00\c8\00\00\00\00\00\00\00\00\00\00\00")
  (func (export "bulkhead_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "bulkhead_start") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_handle") (param i32 i32) (result i64) (i64.const 20))
  (func (export "bulkhead_session") (param i32 i32) (result i64) (local $k i32)
    (loop $more
      (drop (call $next (i32.const 4096) (i32.const 4096) (i32.const 60000)))
      (local.set $k (i32.const 20000000))
      (loop $compute (br_if $compute (local.tee $k (i32.sub (local.get $k) (i32.const 1)))))
      (br_if $more (i32.ne (i32.load8_u (i32.const 4104)) (i32.const 3))))
    (i64.const 0)))
