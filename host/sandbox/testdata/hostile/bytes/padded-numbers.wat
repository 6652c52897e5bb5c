;; A count in more bytes than a number may have.
;; refused: number longer than 5 bytes
(module binary "\00asm\01\00\00\00" (section 1 "\81\80\80\80\80\00" "\60\00\00"))
