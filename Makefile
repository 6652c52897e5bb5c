# `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The Go release that go.mod names, also where go.env says GOTOOLCHAIN=local.
export GOTOOLCHAIN ?= $(shell sed -n 's/^toolchain //p' go.mod)+auto
# -s -w: without symbols and debugging data the program is a quarter smaller.
# In a clone the commit is part of `bulkhead version`, whatever GOFLAGS says.
VCS := $(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
# make VERSION=v1.2.3 names a release; otherwise the go command derives a version from the commit.
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)$(shell test -z "$$(git status --porcelain 2>/dev/null)" || echo +changes)
STAMP := $(if $(VERSION),-X github.com/seed-a3fb47d6/bulkhead/host/server.version=$(VERSION)) $(if $(COMMIT),-X github.com/seed-a3fb47d6/bulkhead/host/server.commit=$(COMMIT))
PLUGINS := $(notdir $(patsubst %/manifest.json,%,$(wildcard plugins/*/manifest.json)))

.PHONY: help
help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# The console page. Without npm the host is built without it and says so at "/"; CI has it.
CONSOLE := host/console/dist/manifest.json
.PHONY: console
console: ## build the console page (host/console/dist), which the host embeds
	@if command -v npm >/dev/null; then $(MAKE) -s $(CONSOLE); elif [ -n "$$CI$$BULKHEAD_SDKS" ]; then \
	  echo "the console page needs npm"; exit 1; else echo "without npm the host is built without its console page"; fi

$(CONSOLE): $(shell find host/console/page -path '*/node_modules' -prune -o -type f -print)
	@echo "building the console page"
	@cd host/console/page && npm ci --no-audit --no-fund --silent && npm run -s build

.PHONY: build
build: console ## build the host (build/bulkhead)
	@echo "building the host (the first time takes a few minutes)"
	@examples/dev/progress.sh "building the host" env CGO_ENABLED=0 go build -trimpath -buildvcs=$(VCS) -ldflags "-s -w $(STAMP)" -o build/bulkhead ./cmd/bulkhead

# Always handed to the go command, whose cache knows what has changed.
.PHONY: plugins
plugins: build ## build the plugins (build/plugins/*.wasm)
	@mkdir -p build/plugins
	@for p in $(PLUGINS); do build/bulkhead plugin build plugins/$$p -o build/plugins/$$p.wasm || exit; done

PLATFORMS ?= linux/amd64 linux/arm64
# The time of the files in the image: that of the commit, so that the same commit gives the same digest.
EPOCH ?= $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null || echo 0))

.PHONY: image
image: plugins ## pack host and plugins into an OCI image layout (build/image), for PLATFORMS
	@rm -rf build/image && mkdir -p build/static
	@for p in $(PLATFORMS); do echo "building for $$p"; \
	  CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build -trimpath -buildvcs=$(VCS) -ldflags "-s -w $(STAMP)" -o build/static/$${p%/*}-$${p#*/} ./cmd/bulkhead || exit; done
	@version=$$(build/bulkhead version) && go run ./examples/kubernetes/image -o build/image -version "$$(echo $${version%% *} | tr + - | tr -d '()')" \
	  -commit "$(COMMIT)" -epoch $(EPOCH) -plugins build/plugins $(foreach p,$(PLATFORMS),$(p)=build/static/$(subst /,-,$(p)))

.PHONY: run
run: plugins ## run host and dev cluster; KUBECONFIG=… uses yours, CLUSTER=none none; AZURE=fake adds an Azure
	@exec examples/dev/run.sh

.PHONY: lint
lint: ## gofmt and vet in all modules, regal on the shipped Rego
	@test -z "$$(gofmt -l cmd host plugins policies sdk examples | tee /dev/stderr)" || { echo "run gofmt -w on these"; exit 1; }
	go vet ./...
	cd examples/devcluster && CGO_ENABLED=0 go vet ./...
	cd examples/azure-fake && CGO_ENABLED=0 go vet ./...
	cd examples/peers && CGO_ENABLED=0 go vet ./...
	cd examples/kubernetes/testdata/monitoring && CGO_ENABLED=0 go vet ./...
	CGO_ENABLED=0 REGAL_DISABLE_VERSION_CHECK=1 go tool -modfile=policies/regal/go.mod regal lint policies

# The race detector links C.
.PHONY: cc
cc:
	@command -v gcc >/dev/null || { echo "the race detector needs a C compiler; installing gcc with apt"; \
	  apt-get update -qq && apt-get install -y -qq gcc libc6-dev; }

# A browser, an identity provider and a proxy, for the tests of signing in. Where
# they cannot be installed those tests are left out, but not in CI.
.PHONY: signin
signin:
	@host/server/testdata/signin/setup.sh >/dev/null || [ -z "$$CI" ]

# The compilers of the SDKs in other languages. The tests of an SDK whose compiler cannot
# be installed are left out, but not in CI; those of AssemblyScript also in CI, where
# Node.js is older than 20.
.PHONY: sdks
sdks:
	@sdk/conformance/setup.sh || [ -z "$$CI$$BULKHEAD_SDKS" ]

.PHONY: test
test: cc signin console sdks lint ## everything, with the race detector, on a real cluster
	@program=$$(examples/devcluster/build.sh) && export BULKHEAD_DEVCLUSTER=$$program && \
	program=$$(examples/azure-fake/build.sh) && export BULKHEAD_AZUREFAKE=$$program && \
	echo "testing the dev cluster" && (cd examples/devcluster && CGO_ENABLED=0 go test -ldflags "$$(./ldflags.sh)" ./...) && \
	echo "testing azure-fake" && (cd examples/azure-fake && CGO_ENABLED=0 go test ./...) && \
	echo "testing monitoring" && (cd examples/kubernetes/testdata/monitoring && CGO_ENABLED=0 go test ./...) && \
	echo "testing with the race detector" && go test -race -timeout 30m ./...

# One of the sandbox's guests is C. Without the compiler it is left out.
.PHONY: clang
clang:
	@command -v clang >/dev/null && command -v wasm-ld >/dev/null || { \
	  echo "the C guest of the sandbox's benchmark needs clang and lld; installing them with apt"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends clang lld || echo "that failed; going on without it"; }

.PHONY: bench
bench: clang sdks ## measure, side by side in one run
	@sed -n 's/^model name[^:]*: */machine: /p' /proc/cpuinfo 2>/dev/null | head -1; go version
	go test -run '^$$' -bench . -benchtime 3s -timeout 30m ./host/... ./sdk/...
	cd examples/peers && CGO_ENABLED=0 go test -run '^$$' -bench . -timeout 30m

# Tests that do ten or a hundred times as much when asked to.
SOAK := TestAnIndependentEvaluatorAgrees|TestLogoutRace|TestReplicas|TestSwapUnderLoad|TestNothingIsLeftOfEarlierConfigurations|TestNoReleaseIsLeftPending|TestEveryEffectIsInTheAuditOnce
.PHONY: soak
soak: ## tests that take long, at their full length
	BULKHEAD_SOAK=1 go test -count=1 -timeout 4h -v -run '$(SOAK)' ./host/authz ./host/plugin ./host/server ./host/state
	go test -timeout 2h -run '^$$' -bench SwapsOverHTTP -benchtime 1000x ./host/server

.PHONY: flux
flux: ## Flux's own source-controller obeys the plugin gitops (builds it: 5 minutes of processor time)
	program=$$(examples/flux-source/build.sh) && BULKHEAD_FLUXSOURCE=$$program go test -count=1 -run TestFluxSourceController ./host/server

.PHONY: cosign
cosign: ## test that signatures of the real cosign count here, and ours there (builds it: 5 minutes of processor time)
	program=$$(examples/cosign/build.sh) && BULKHEAD_COSIGN=$$program go test -count=1 -run RealCosign ./host/artifact

.PHONY: mutants
mutants: ## change critical lines one at a time, and list what the tests miss (PACKAGES=host/authn: one package)
	@go build -o build/mutants ./host/internal/mutants && nice -n 19 build/mutants $(PACKAGES)

.PHONY: fuzz
FUZZTIME ?= 30s
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@go list ./... | while read -r p; do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit; done; done

.PHONY: vuln
vuln: ## match the code and its dependencies against Go's vulnerability database
	@.ci/vuln

.PHONY: clean
clean: ## remove what was built and the data of make run
	rm -rf build data
