;; An import of the host's own module, under names of 4 KiB, which would be in the error.
;; refused: reserved for the host
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00")
  (section 2 "\01" (sized "bulkhead:sandbox" (times 4080 "\00")) (sized (times 4096 "\00")) "\00\00"))
