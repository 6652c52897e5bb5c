#!/usr/bin/env bash
# Prints the linker flags of the dev cluster. Kubernetes learns its version from
# the linker; without it the API server calls itself v0.0.0, and charts with a
# kubeVersion refuse it. The version is the one that go.mod names.
set -euo pipefail
cd "$(dirname "$0")"
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
flags=(-s -w)
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=(-X "$package.gitVersion=$version" -X "$package.gitMajor=$major" -X "$package.gitMinor=$minor"
    -X "$package.gitCommit=" -X "$package.gitTreeState=clean")
done
echo "${flags[*]}"
