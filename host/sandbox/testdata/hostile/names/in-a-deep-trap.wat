;; A hundred frames with names of 4 KiB, which would be in the log.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\42" (repeat 66 "\00")) (section 5 "\01\00\01")
  (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00")
  (section 10 "\42" (repeat 65 (sized "\00\10" (u32 %+) "\0b")) (sized "\00\00\0b"))
  (section 0 (sized "name") "\01" (sized "\42" (repeat 66 (u32 %) (sized (repeat 256 "0123456789abcdef"))))))
