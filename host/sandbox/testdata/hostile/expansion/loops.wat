;; Empty loops: each becomes several times as long.
;; refused: the code that counts their work
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 4) (times 4 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 4) (sized "\00\00\0b")
    (times 3 (sized "\00\00" (times 340000 "\03\40\0b") "\0b"))))
