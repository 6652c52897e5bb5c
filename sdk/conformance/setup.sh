#!/usr/bin/env bash
# Gets the compilers of the SDKs in other languages, with apt where they are missing.
# What it cannot get it names, and exits with 3.
set -uo pipefail
missing=0
need() { # NAME PROGRAM PACKAGES…
  eval "$2" >/dev/null 2>&1 && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "the $1 SDK needs ${*:3}; installing with apt"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:3}" >/dev/null
    eval "$2" >/dev/null 2>&1 && return
  fi
  echo "LEFT OUT: the tests of the $1 SDK; it needs ${*:3}"
  missing=3
}
target='--print target-libdir --target wasm32-unknown-unknown'
need Rust "ls \"\$(rustc $target)\" || ls \"\$(/usr/bin/rustc $target)\"" rustc libstd-rust-dev-wasm32 lld
need AssemblyScript "node -e 'process.exit(+(parseInt(process.versions.node) < 20))' && command -v npm" nodejs npm
need C "command -v clang && command -v wasm-ld" clang lld
exit $missing
