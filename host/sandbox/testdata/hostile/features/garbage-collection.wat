;; A type of the garbage collection proposal.
;; refused: garbage collection
(module binary "\00asm\01\00\00\00" (section 1 "\01\5f\00"))
