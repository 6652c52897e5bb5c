;; 1,500 functions that all call each other: two million edges, in one component.
;; ends: trapped, nested too deep
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 1500) (times 1500 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 1500) (times 1500 (sized "\00" (numbered 1500 "\10" "") "\0b"))))
