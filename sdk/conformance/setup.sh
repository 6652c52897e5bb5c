#!/usr/bin/env bash
# Installs the compilers of the SDKs in other languages with apt, where they are missing.
# It names each SDK whose tests are left out. Exit code 3: a compiler cannot be installed.
# A Node.js that is too old is not replaced, and is not a failure.
set -uo pipefail
missing=0
install() { # PACKAGES…
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return
  echo "installing with apt: $*"
  for wait in 5 15 0; do # seconds until the next attempt
    apt-get update -qq -o Acquire::Retries=3 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
      --no-install-recommends -o Acquire::Retries=3 -o DPkg::Lock::Timeout=60 "$@" >/dev/null && return
    sleep "$wait"
  done
}
need() { # NAME CHECK PACKAGES…
  eval "$2" >/dev/null 2>&1 && return
  echo "the $1 SDK needs ${*:3}"
  install "${@:3}"
  eval "$2" >/dev/null 2>&1 && return
  echo "LEFT OUT: the tests of the $1 SDK; install ${*:3}" >&2
  missing=3
}
target='--print target-libdir --target wasm32-unknown-unknown'
need Rust "ls \"\$(rustc $target)\" || ls \"\$(/usr/bin/rustc $target)\"" rustc libstd-rust-dev-wasm32 lld
need C "command -v clang && command -v wasm-ld" clang lld
need AssemblyScript "command -v node && command -v npm" nodejs npm
if command -v node >/dev/null && ! node -e 'process.exit(+(parseInt(process.versions.node) < 20))'; then
  echo "LEFT OUT: the tests of the AssemblyScript SDK; they need Node.js 20 or newer, this is $(node --version)" >&2
fi
exit $missing
