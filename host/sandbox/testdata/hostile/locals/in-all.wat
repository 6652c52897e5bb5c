;; 59,000 functions of 2,000 locals in 400 KB of text: an engine that lists the
;; types of locals holds a gigabyte, for as long as the module is loaded.
;; refused: locals of all functions
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 (u32 59000) (times 59000 "\00")) (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 (u32 59000) (times 59000 (sized "\01" (u32 2000) "\7e" "\0b"))))
