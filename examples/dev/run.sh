#!/usr/bin/env bash
# make run: starts the host and, by default, the dev cluster. Ctrl-C ends both.
# KUBECONFIG=… uses another cluster, CLUSTER=none no cluster. AZURE=fake adds a
# fake Azure, as the instance demo.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
data=$root/data
config=$root/examples/dev/bulkhead.yaml
mkdir -p "$data/cluster"
mine=$data/run.pid
if other=$(cat "$mine" 2>/dev/null) && ps -p "$other" -o args= 2>/dev/null | grep -q run.sh; then
  echo "make run is already running here, as process $other" >&2
  exit 1
fi
echo $$ >"$mine"
children=()
finish() {
  trap - EXIT INT TERM
  rm -f "$mine"
  for pid in "${children[@]:-}"; do [ -n "$pid" ] && kill -TERM "$pid" 2>/dev/null || true; done
  wait
}
trap finish EXIT
trap 'exit 0' INT
trap 'exit 0' TERM HUP

export BULKHEAD_LISTEN=${BULKHEAD_LISTEN:-127.0.0.1:8080}
if [ "${CLUSTER:-dev}" = none ]; then
  export BULKHEAD_CLUSTERS='[]'
elif [ -n "${KUBECONFIG:-}" ]; then
  export BULKHEAD_CLUSTERS="[{name: dev, kubeconfig: \"$(realpath "$KUBECONFIG")\"}]" # one file, not a list
else
  # Built and started in the background; the host serves meanwhile.
  rm -f "$data/cluster/host.kubeconfig"
  (
    program=$(examples/devcluster/build.sh)
    exec "$program" --data "$data/cluster/state" --kubeconfig "$data/cluster/kubeconfig" \
      --host-kubeconfig "$data/cluster/host.kubeconfig" >"$data/cluster/ready.json"
  ) &
  children+=($!)
fi

if [ "${AZURE:-none}" = fake ]; then
  program=$(examples/azure-fake/build.sh)
  mkdir -p "$data/azure"
  rm -f "$data/azure/ready.json"
  "$program" --dir "$data/azure" >"$data/azure/ready.json" &
  azure=$!
  children+=("$azure")
  until [ -s "$data/azure/ready.json" ]; do
    kill -0 "$azure" 2>/dev/null || { wait "$azure"; exit; }
    sleep 0.1
  done
  of() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$data/azure/ready.json"; }
  export BULKHEAD_AZURE="[{name: demo, subscription: $(of subscription), tenant: $(of tenant), credential: secret, clientID: $(of clientID),
    clientSecretFile: \"$data/azure/secret\", cloud: {endpoint: \"$(of endpoint)\", authority: \"$(of authority)\", caFile: \"$(of caFile)\"}}]"
fi

rm -f "$data/serving"
build/bulkhead serve --config "$config" >"$data/serving" &
host=$!
children+=("$host")
# The host prints its address once its plugins are loaded. The first time they are
# compiled, which takes some seconds each.
until url=$(sed -n 's/^bulkhead serves at //p' "$data/serving" 2>/dev/null) && [ -n "$url" ]; do
  kill -0 "$host" 2>/dev/null || { wait "$host"; exit; }
  sleep 0.1
done
if [ "${CLUSTER:-dev}" = none ]; then
  about="There is no cluster: the last answers 404."
elif [ -n "${KUBECONFIG:-}" ]; then
  about="The last shows the releases of your cluster, if the host may impersonate users there."
else
  about="The last answers 503 until the dev cluster is ready."
fi
cat <<TEXT

Bulkhead is at $url: open it in a browser, or try in another terminal:

  curl -c eve.jar -H 'Content-Type: application/json' -d '{"user":"eve@example.com"}' $url/auth/login
  curl -b eve.jar '$url/api/echo/echo?hello=world'
  curl -b eve.jar '$url/api/gitops/helm-releases?cluster=dev'

$about Users: vic@ (viewer), eve@ (editor), ola@ (on call), ada@example.com (admin).
data/host/decisions.jsonl has one line per policy decision.
Ctrl-C ends the host and the cluster.

TEXT
wait "$host"
