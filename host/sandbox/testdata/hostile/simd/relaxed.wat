;; Relaxed SIMD is no part of Wasm 2.0.
;; refused: relaxed SIMD
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00") (section 10 "\01" (sized "\00\fd\80\02\0b")))
