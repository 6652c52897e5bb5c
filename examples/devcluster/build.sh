#!/usr/bin/env bash
# Builds the dev cluster and prints the program's path. The program is kept in
# the user's cache under a name made of everything that goes into it, so that
# it is built once per content, whichever checkout asks. The first build
# compiles Kubernetes: 5 to 10 minutes on two cores. No -trimpath and no cgo, so
# that building, vetting and testing share what the go command has compiled.
set -euo pipefail
cd "$(dirname "$0")"
hash() { sha256sum 2>/dev/null || shasum -a 256; }
key=$({ go version; find . -type f ! -name '*_test.go' ! -name '*.md' | LC_ALL=C sort | while read -r f; do echo "$f"; cat "$f"; done; } | hash | cut -c1-32)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead/devcluster
program=$dir/$key
if [ ! -x "$program" ]; then
  mkdir -p "$dir"
  echo "devcluster: building (the first time this compiles Kubernetes: 5 to 10 minutes on two cores)" >&2
  CGO_ENABLED=0 ../dev/progress.sh "devcluster: building" go build -ldflags="$(./ldflags.sh)" -o "$program.$$" . >&2
  mv "$program.$$" "$program"
  echo "devcluster: built in $SECONDS s" >&2
fi
echo "$program"
