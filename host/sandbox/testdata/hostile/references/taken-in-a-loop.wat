;; Takes a reference to a function again and again. wazero makes an object for
;; each and keeps it as long as the instance; the rewriter has them in a table.
;; ends: deadline
(module (memory (export "memory") 1) (elem declare func $f) (func $f)
  (func (export "run") (loop (drop (ref.func $f)) (br 0))))
