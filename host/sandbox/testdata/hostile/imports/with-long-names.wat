;; As many imports as are allowed, with names of almost 4 KiB, which would be in the error.
;; refused: and 980 more imports
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00")
  (section 2 (u32 1000) (times 1000 (sized (repeat 255 "0123456789abcdef")) (sized (repeat 255 "0123456789abcdef")) "\00\00"))
  (section 3 "\01\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\e8\07")
  (section 10 "\01" (sized "\00\0b")))
