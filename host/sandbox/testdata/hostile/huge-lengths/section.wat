;; A section that says it has 4 GiB.
;; refused: length 4294967295
(module binary "\00asm\01\00\00\00" "\01" (u32 0xffffffff) "\00")
