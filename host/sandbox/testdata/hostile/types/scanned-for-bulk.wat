;; 10,000 types, and 100,000 operations that each need the one that is not there.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 (u32 10000) (times 10000 "\60\00\00")) (section 3 "\1a" (times 26 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 "\1a" (sized "\00\00\0b") (times 25 (sized "\00\00" (times 4000 "\fc\0b\00") "\0b"))))
