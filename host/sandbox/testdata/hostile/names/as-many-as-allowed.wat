;; 60,000 functions with names of 139 bytes: as much as is kept of them.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 60000) (times 60000 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 60000) (times 60000 (sized "\00\00\0b")))
  (section 0 (sized "name") "\01" (sized (u32 60000) (numbered 60000 "" (sized (times 139 "n"))))))
