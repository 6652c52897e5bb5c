#!/usr/bin/env bash
# build.sh DIR MODULE: compiles the plugin in DIR (src/lib.rs, no crates but this SDK) to
# a module for `bulkhead plugin pack`, with rustc alone. Debian's rustc and
# libstd-rust-dev-wasm32 are enough. With cargo, see README.md. Exit code 3: no compiler.
set -euo pipefail
sdk=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: build.sh DIR MODULE" >&2; exit 2; }
target=wasm32-unknown-unknown
for rustc in "${RUSTC:-rustc}" /usr/bin/rustc; do
  lib=$("$rustc" --print target-libdir --target $target 2>/dev/null) && [ -d "$lib" ] && break
  rustc=
done
[ -n "$rustc" ] || {
  echo "no rustc with $target (Debian: rustc, libstd-rust-dev-wasm32, lld; rustup: rustup target add $target)" >&2; exit 3; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
compile() { "$rustc" --edition 2021 --target $target -C opt-level=s -C codegen-units=1 -C panic=abort -C embed-bitcode=yes "$@"; }
compile --crate-type rlib --crate-name bulkhead --remap-path-prefix "$sdk=bulkhead" -o "$out/libbulkhead.rlib" "$sdk/src/lib.rs"
# The stack first: what overflows traps, and does not run into data.
compile --crate-type cdylib --crate-name plugin --extern bulkhead="$out/libbulkhead.rlib" --remap-path-prefix "$1=." \
  -C lto=fat -C strip=debuginfo -C link-arg=--stack-first -C link-arg=-zstack-size=131072 -o "$out/plugin.wasm" "$1/src/lib.rs"
mv "$out/plugin.wasm" "$2"
