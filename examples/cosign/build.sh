#!/usr/bin/env bash
# Builds the real cosign, for host/artifact's test of its signatures, and prints the
# program's path. It is kept in the user's cache under a name made of everything that goes
# into it. The first build takes 5 minutes of processor time.
set -euo pipefail
cd "$(dirname "$0")"
hash() { sha256sum 2>/dev/null || shasum -a 256; }
key=$({ go version; cat go.mod go.sum build.sh; } | hash | cut -c1-32)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead/cosign
program=$dir/$key
if [ ! -x "$program" ]; then
  mkdir -p "$dir"
  CGO_ENABLED=0 ../dev/progress.sh "cosign: building" go build -ldflags='-s -w' -trimpath -o "$program.$$" github.com/sigstore/cosign/v3/cmd/cosign >&2
  mv "$program.$$" "$program"
fi
echo "$program"
