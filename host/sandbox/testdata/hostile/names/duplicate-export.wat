;; Exports a name of 4 KiB twice, which the error would quote with escapes, four times as long.
;; refused: duplicate export
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 5 "\01\00\01")
  (section 7 "\02" (times 2 (sized (times 4096 "\00")) "\00\00"))
  (section 10 "\01" (sized "\00\0b")))
