;; 20,000 operations in one function: a compiler takes time in the square of them.
;; refused: bulk operations
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\02\00\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 "\02" (sized "\00\00\0b") (sized "\00" (times 20000 "\41\00\41\00\41\00\fc\0b\00") "\0b")))
