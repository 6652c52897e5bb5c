;; Goes as deep as 20 MiB of native stack and back, and then computes: what it
;; used is given back, and counted until then.
;; ends: deadline
(module (memory (export "memory") 1)
  (func $f (param $n i32)
    (if (local.get $n) (then (call $f (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "run") (call $f (i32.const 100000)) (loop (br 0))))
