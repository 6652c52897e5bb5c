;; 300 locals change in 60 loops within each other, so that each has a place on
;; the native stack for each loop: 140 KiB a level.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $f (param i32) (result i32) (locals 300 i32)
    (nest 60 (loop
      (repeat 60 (local.set %+ (i32.add (local.get %+) (i32.const 1)))))
      (br_if 0 (call $f (i32.add (local.get 0) (i32.const 1)))))
    (local.get 60))
  (func (export "run") (drop (call $f (i32.const 0)))))
