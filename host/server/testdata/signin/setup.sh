#!/usr/bin/env bash
# Gets what the sign-in tests drive: a browser, the provider's packages, and
# oauth2-proxy, which is kept in the user's cache so that its dependencies are
# none of ours. Prints the paths of browser and proxy, a line each. What is
# there already is not fetched again.
set -euo pipefail
cd "$(dirname "$0")"
proxy_version=v7.6.0

need() { # PROGRAM PACKAGES…
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "the sign-in tests need $1; install it (Debian: ${*:2})" >&2
    exit 3
  fi
  echo "the sign-in tests need $1; installing ${*:2} with apt" >&2
  apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" >&2
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead/signin
mkdir -p "$cache"
exec 9>"$cache/lock"
! command -v flock >/dev/null || flock 9 # another test run may be at it

need node nodejs
need npm npm
need chromium chromium
if [ ! -f node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "sign-in tests: installing npm packages" >&2
  npm ci --no-audit --no-fund --silent >&2
  touch node_modules/.package-lock.json
fi
proxy=$cache/oauth2-proxy-$proxy_version
if [ ! -x "$proxy" ]; then
  echo "sign-in tests: building oauth2-proxy $proxy_version" >&2
  rm -rf "$cache/bin"
  (cd / && GOFLAGS=-mod=mod GOBIN=$cache/bin go install "github.com/oauth2-proxy/oauth2-proxy/v7@$proxy_version") >&2
  mv "$cache/bin/oauth2-proxy" "$proxy"
fi
command -v chromium
echo "$proxy"
