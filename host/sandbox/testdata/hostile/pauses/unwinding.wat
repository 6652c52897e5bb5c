;; A deep recursion in which each call has paid for what it does after the next one has
;; returned, reads at random places of 64 MiB: nothing asks on the way back.
;; memory: 64
;; ends: deadline
(module (memory (export "memory") 1023)
  (func $fill (local $p i32)
    (loop
      (i32.store (local.get $p) (i32.mul (local.get $p) (i32.const 0x9e3779b1)))
      (local.set $p (i32.add (local.get $p) (i32.const 1024)))
      (br_if 0 (i32.lt_u (local.get $p) (i32.const 0x3ff0000)))))
  (start $fill)
  (func $f (param $n i32) (result i32) (local $x i32)
    (if (local.get $n) (then (local.set $x (call $f (i32.sub (local.get $n) (i32.const 1))))))
    (repeat 400 (local.set $x (i32.load (i32.and (i32.mul (i32.add (local.get $x) (i32.const 12345)) (i32.const 0x9e3779b1)) (i32.const 0x3fefc00)))))
    (local.get $x))
  (func (export "run") (loop (drop (call $f (i32.const 40000))) (br 0))))
