;; A custom section of 30 MB, which neither the engine nor the host needs.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00") (section 10 "\01" (sized "\00\00\0b"))
  (section 0 (sized "x") (times 30000000 "x")))
