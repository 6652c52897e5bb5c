;; Ends in the middle of an instruction.
;; refused: malformed
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 10 "\01" (sized "\00\41\80")))
