;; Ten thousand types, in a section of one byte.
;; refused: types in 0 bytes
(module binary "\00asm\01\00\00\00" (section 1 (u32 10000)))
