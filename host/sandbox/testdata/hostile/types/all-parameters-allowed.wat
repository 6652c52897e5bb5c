;; As many parameters as all types may have together, in as many types, and 5,000 functions of one.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 (u32 10000) "\60\00\00" (times 9999 "\60\0a" (times 10 "\7b") "\00"))
  (section 3 (u32 5000) "\00" (times 4999 (u32 9999))) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 5000) (times 5000 (sized "\00\00\0b"))))
