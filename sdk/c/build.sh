#!/usr/bin/env bash
# build.sh DIR MODULE: compiles the plugin in DIR (*.c) to a module for `bulkhead plugin
# pack`, with clang and wasm-ld. Exit code 3: they are not there.
set -euo pipefail
sdk=$(cd "$(dirname "$0")" && pwd)
[ $# = 2 ] || { echo "usage: build.sh DIR MODULE" >&2; exit 2; }
for tool in "${CLANG:-clang}" wasm-ld; do
  command -v "$tool" >/dev/null || { echo "no $tool (Debian: clang, lld)" >&2; exit 3; }
done
# The stack first: what overflows traps, and does not run into data.
"${CLANG:-clang}" --target=wasm32 -std=c11 -O2 -Wall -Wextra -Werror -ffreestanding -nostdlib -mbulk-memory \
  -ffile-prefix-map="$1=." -ffile-prefix-map="$sdk=." -I "$sdk" \
  -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536 -o "$2" "$1"/*.c
