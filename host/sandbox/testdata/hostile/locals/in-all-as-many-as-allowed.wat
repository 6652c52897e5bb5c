;; As many locals as all functions may have together.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 2001) (times 2001 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 2001) (sized "\00\00\0b") (times 2000 (sized "\01" (u32 1999) "\7e" "\0b"))))
