;; Deeper than is allowed.
;; refused: nested blocks
(module (memory (export "memory") 1) (func (export "run") (nest 9000 (block) (nop))))
