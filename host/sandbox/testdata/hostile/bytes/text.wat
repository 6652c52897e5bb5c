;; Not WebAssembly.
;; refused: magic number missing
(module binary "#!/bin/sh\nrm -rf /\n")
