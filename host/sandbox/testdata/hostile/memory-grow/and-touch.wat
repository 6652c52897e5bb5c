;; Takes what it can get and writes to every page of it, for ever.
;; ends: deadline
(module (memory (export "memory") 1)
  (func (export "run") (local $p i32)
    (loop $more (br_if $more (i32.ge_s (memory.grow (i32.const 16)) (i32.const 0))))
    (loop $again
      (local.set $p (i32.const 0))
      (loop $page
        (i32.store (local.get $p) (i32.const -1))
        (local.set $p (i32.add (local.get $p) (i32.const 4096)))
        (br_if $page (i32.lt_u (local.get $p) (i32.mul (memory.size) (i32.const 65536)))))
      (br $again))))
