#!/usr/bin/env bash
# progress.sh LABEL COMMAND …: runs the command and says every 30 s that it is
# still at it. Quick commands say nothing.
set -euo pipefail
label=$1
shift
# read with a time-out, and not sleep, which would outlive us and hold our output open.
(exec 9<> <(:); until read -r -t 30 -u 9; do echo "$label: $SECONDS s so far" >&2; done) &
ticker=$!
trap 'kill "$ticker" 2>/dev/null || true' EXIT
"$@"
