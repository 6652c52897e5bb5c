;; i32x4.splat with its number in two bytes more than needed. wazero reads the
;; same bytes as another instruction; it gets the shortest form instead.
;; ends: trapped, unreachable
(module binary "\00asm\01\00\00\00" (section 1 "\01\60\00\00") (section 3 "\01\00") (section 5 "\01\00\01") (section 7 "\02" (sized "memory") "\02\00" (sized "run") "\00\00") (section 10 "\01" (sized "\00" "\41\07" "\fd\91\80\00" "\fd\1b\02" "\41\07\46\04\40\00\0b" "\0b")))
