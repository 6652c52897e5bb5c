;; Declares all that WebAssembly can address.
;; refused: pages of memory
(module (memory (export "memory") 65536) (func (export "run")))
