;; A name section of 6.9 million names, each empty, for functions that are not there.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00") (section 10 "\01" (sized "\00\00\0b"))
  (section 0 (sized "name") "\01" (sized (u32 6500000) (numbered 6500000 "" "\00"))))
