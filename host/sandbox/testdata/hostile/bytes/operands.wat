;; Well formed, but adds where nothing is on the stack: the engine refuses it.
;; refused: invalid function
(module (memory (export "memory") 1) (func (export "run") (drop (i32.add))))
