;; 10,000 types of 256 parameters and 64 results: an engine keeps 100 MB of them.
;; refused: parameters and results of all types
(module binary "\00asm\01\00\00\00" (section 1 (u32 10000) (times 10000 "\60" (u32 256) (times 256 "\7b") "\40" (times 64 "\7b"))))
