;; A memory with 64-bit addresses.
;; refused: 64-bit memory
(module binary "\00asm\01\00\00\00" (section 5 "\01\04\01"))
