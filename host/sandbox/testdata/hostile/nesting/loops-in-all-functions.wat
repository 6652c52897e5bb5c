;; 300 functions of 100 nested loops that each carry locals; the rewriter makes four blocks of a loop.
;; ends: deadline
(module (memory (export "memory") 1)
  (repeat 300 (func (locals 20 i64) (nest 100 (loop)
    (local.set 0 (i64.add (local.get 0) (i64.const 1))) (local.set 19 (i64.add (local.get 19) (local.get 0)))
    (br_if 99 (i32.eqz (memory.size))))))
  (func (export "run") (loop $l (call 0) (br $l))))
