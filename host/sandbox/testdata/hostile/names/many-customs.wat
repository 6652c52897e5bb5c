;; More custom sections than are allowed.
;; refused: custom sections
(module binary "\00asm\01\00\00\00" (repeat 300 (section 0 (sized "x"))))
