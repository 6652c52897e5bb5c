;; An import with a name of a mebibyte, which would be in the error.
;; refused: bytes of a name
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00")
  (section 2 "\01" (sized (repeat 65536 "0123456789abcdef")) (sized "f") "\00\00"))
