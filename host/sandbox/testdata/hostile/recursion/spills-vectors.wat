;; Keeps 3,000 vectors alive across calls of 250 more each: few instructions, and
;; 60 KiB of native stack a level.
;; ends: trapped, nested too deep
(module (memory (export "memory") 1)
  (func $f (param (repeat 250 v128)) (result v128)
    (repeat 3000 (i32x4.splat (i32.add (i32.load (i32.const 0)) (i32.const %))))
    (repeat 8 (call $f (repeat 250 (local.get 1))))
    (repeat 3007 (i32x4.add)))
  (func (export "run") (drop (call $f (repeat 250 (i32x4.splat (i32.const 1)))))))
