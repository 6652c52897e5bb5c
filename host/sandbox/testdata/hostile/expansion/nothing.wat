;; Megabytes of code that does nothing, which an engine would keep.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 7) (times 7 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 7) (sized "\00\00\0b")
    (times 6 (sized "\00\00" (times 1000000 "\01") "\0b"))))
