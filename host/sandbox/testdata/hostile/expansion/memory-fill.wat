;; Memory.fill that is never reached: each becomes 20 times as long.
;; refused: the code that counts their work
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 101) (times 101 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 101) (sized "\00\00\0b")
    (times 100 (sized "\00\00" (times 4000 "\fc\0b\00") "\0b"))))
