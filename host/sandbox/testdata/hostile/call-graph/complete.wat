;; 800 functions that all call each other: 600,000 edges, in one component.
;; ends: trapped, nested too deep
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 800) (times 800 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 800) (times 800 (sized "\00" (numbered 800 "\10" "") "\0b"))))
