;; A header, then bytes that mean nothing.
;; refused: malformed
(module binary "\00asm\01\00\00\00" "\9f\3c\11\e8\57\aa\04\d2\70\8b\1e\c9")
