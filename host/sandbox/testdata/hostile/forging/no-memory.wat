;; Does not export its memory, so that the host could not write to it.
;; refused: does not export its memory
(module (memory 1) (func (export "run")))
