;; A memory that is imported under names of 4 KiB, which would be in the error.
;; refused: a guest defines its own
(module binary "\00asm\01\00\00\00" (section 2 "\01" (times 2 (sized (times 4096 "\00"))) "\02\00\01"))
