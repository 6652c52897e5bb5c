#!/usr/bin/env bash
# Builds Flux's source-controller and prints the program's path. As with the dev
# cluster, the program is kept in the user's cache under a name made of
# everything that goes into it. The first build takes 4 to 5 minutes of
# processor time, and 100 MB of disk for the program.
set -euo pipefail
cd "$(dirname "$0")"
hash() { sha256sum 2>/dev/null || shasum -a 256; }
key=$({ go version; find . -type f ! -name '*_test.go' ! -name '*.md' | LC_ALL=C sort | while read -r f; do echo "$f"; cat "$f"; done; } | hash | cut -c1-32)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead/flux-source
program=$dir/$key
if [ ! -x "$program" ]; then
  mkdir -p "$dir"
  CGO_ENABLED=0 ../dev/progress.sh "flux-source: building" go build -ldflags='-s -w' -o "$program.$$" github.com/fluxcd/source-controller >&2
  mv "$program.$$" "$program"
fi
echo "$program"
