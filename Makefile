# Commands for the root of a clone. They need Go and a C compiler for the race detector; everything else they get themselves.

SHELL = /bin/bash
.SHELLFLAGS = -o pipefail -c
GO ?= go

# The documents of real systems that some tests read; unset, those tests skip by name.
export LIFECYCLE_SHARED

.PHONY: demo test mutants sim itest lint tidy tidy-check bench fuzz

## demo: rebuild three workers of a cluster on loopback, and look at what was left
demo:
	@bash examples/demo.sh

## test: unit tests, conformance on both faces, kill enumeration, examples; race detector
test:
	$(GO) test -race -shuffle=on ./...
	cd examples && $(GO) test -race -shuffle=on ./...

## mutants: every known bug, put back, is caught by the invariant that its row names
mutants:
	$(GO) test -count=1 -tags mutant -run 'Mutant|Museum|EverySwitch' ./...

## sim: the mutants, the kill points of a rebuild, and seeds of the simulator, without the race detector
SEEDS ?= 2000
sim: mutants
	$(GO) test -count=1 -run 'Kill|Fleet' -v ./ncn | grep -E '^(ok|FAIL|---|panic)|points|time'
	$(GO) test -count=1 ./fakes/sim -v -run 'TestSeeds|TestReplay' -sim.seeds=$(SEEDS) -sim.replays=$$(( $(SEEDS) / 2 )) $(if $(SEED),-sim.seed=$(SEED)) | grep -vE '^ *(===|--- PASS)'
	$(GO) test -count=1 ./fakes/sim -v -run TestFleets -sim.fleets=$$(( $(SEEDS) / 5 )) | grep -vE '^ *(===|--- PASS)'
	$(GO) test -count=1 . -run TestDecide -decide-runs=20000

## itest: real processes and real servers
itest:
	cd examples && $(GO) test -count=1 -run TestKill -v ./ncnctl -kills 30 | grep -vE '^=== (RUN|PAUSE|CONT)'
	bash internal/itest/install.sh
	cd internal/itest && $(GO) test -count=1 -v ./... | grep -vE '^=== (RUN|PAUSE|CONT)'

## lint: everything that reads the code without running it
lint: tidy-check
	$(GO) vet ./... && (cd examples && $(GO) vet ./...) && (cd internal/itest && $(GO) vet ./...)
	$(GO) vet -tags mutant ./...
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	GOOS=darwin CGO_ENABLED=0 $(GO) vet ./...
	bash .ci/golangci
	bash .ci/govulncheck

## tidy: go mod tidy, for the root and the nested modules
tidy:
	bash .ci/tidy

tidy-check:
	bash .ci/tidy --check

## bench: figures, told and not judged; internal/bench/results/ keeps those that were quoted, with machine and date
bench:
	$(GO) test -count=1 -cpu 1 -v -run TestSpeed ./fakes/sim -sim.seeds=1000 | grep rebuilds
	$(GO) test -count=1 -v -run 'TestFleet' ./ncn | grep -E 'time'
	$(GO) test -count=1 -v -run 'TestRolloutLarge' . | grep makespan
	$(GO) test -run '^$$' -bench . -benchtime 1s .

## fuzz: every fuzz target for a while (FUZZTIME=30s)
FUZZTIME ?= 30s
fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "== $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done
