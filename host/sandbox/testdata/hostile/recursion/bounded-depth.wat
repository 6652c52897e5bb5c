;; Never deeper than 60, but 2^60 calls.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f (param $n i32)
    (if (local.get $n) (then
      (call $f (i32.sub (local.get $n) (i32.const 1)))
      (call $f (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "run") (call $f (i32.const 60))))
