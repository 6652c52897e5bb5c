#!/usr/bin/env bash
# build.sh DIR MODULE: compiles the plugin in DIR (index.ts) to a module for `bulkhead plugin
# pack`. The compiler is the one that package-lock.json names; npm installs it the first
# time. Exit code 3: Node.js or npm is missing, or the compiler cannot be installed; 4: Node.js
# is too old.
set -euo pipefail
sdk=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: build.sh DIR MODULE" >&2; exit 2; }
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "no $tool (Debian: nodejs, npm)" >&2; exit 3; }
done
node -e 'process.exit(+(parseInt(process.versions.node) < 20))' || { echo "Node.js $(node --version) is too old, the compiler needs 20" >&2; exit 4; }
asc=$sdk/node_modules/assemblyscript/bin/asc.js
if [ ! -f "$asc" ] || [ "$sdk/package-lock.json" -nt "$sdk/node_modules/.package-lock.json" ]; then
  (cd "$sdk" && npm ci --no-audit --no-fund --silent) || { echo "npm cannot install the compiler" >&2; exit 3; }
  touch "$sdk/node_modules/.package-lock.json"
fi
dir=$(cd "$1" && pwd)
out=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$dir"
lib=$(node -p 'require("path").relative(...process.argv.slice(1))' "$dir" "$sdk/lib") # the compiler wants it relative
exec node "$asc" index.ts --baseDir . --lib "$lib" --use abort=~lib/bulkhead/bulkheadAbort \
  --exportStart _initialize --runtime incremental --optimizeLevel 3 --shrinkLevel 1 --outFile "$out"
