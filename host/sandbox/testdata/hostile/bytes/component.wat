;; A component, which is another format.
;; refused: component model
(module binary "\00asm\0d\00\01\00")
