;; Declares its types a second time, after they were used.
;; refused: out of order or repeated
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 1 "\01\60\00\00"))
