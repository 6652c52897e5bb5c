;; No bytes at all.
;; refused: malformed
(module binary)
