# Two commands are all a newcomer needs: `make demo` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo

.PHONY: help demo fetch build test lint fmt clippy doc spec layering deny model vectors clean fuzz fuzz-smoke lint-deploy openapi-test settings

help: ## Say what each target does.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 12

demo: fetch ## Train one spam filter over twelve mail providers; report in demo-report/.
	$(CARGO) build --release --bin undertone
	./target/release/undertone demo

fetch: ## Fetch the model and the mail once, into .cache/undertone.
	scripts/fetch-demo-data.sh

build: ## Build everything, optimised.
	$(CARGO) build --workspace --release

# nextest where it is installed (it runs each test in its own process); else cargo's own runner.
test: ## Run every test; starts a throw-away PostgreSQL cluster.
	scripts/with-postgres.sh scripts/run-tests.sh

lint: fmt clippy doc deny ## Everything that judges without running.

fmt: ## Check the formatting.
	$(CARGO) fmt --all --check

clippy: ## Lint; warnings are errors.
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

doc: ## Build the documentation; warnings are errors.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

spec: ## Build the specification, into target/protocol-spec/.
	scripts/mdbook.sh build protocol-spec

vectors: ## Write the specification's test vectors anew; a test compares them.
	$(CARGO) run --quiet -p undertone-protocol --example vectors -- protocol-spec/vectors
	$(CARGO) run --quiet -p undertone-privacy --example distributed_vectors -- protocol-spec/vectors

fuzz: ## Fuzz each target for 30 s.
	scripts/fuzz.sh 30

fuzz-smoke: ## Fuzz each target for 5 s.
	scripts/fuzz.sh 5

layering: ## Check who imports whom.
	$(CARGO) test --workspace --all-features --test layering

deny: ## Check licences, bans and sources of all dependencies.
	scripts/cargo-deny.sh check bans licenses sources

openapi-test: ## Test the service against its OpenAPI document with schemathesis.
	scripts/schemathesis.sh

lint-deploy: ## Judge Dockerfile, compose file, systemd unit and Helm chart.
	scripts/lint-deploy.sh

settings: ## Write the table of settings in docs/configuration.md anew; a test compares it.
	scripts/settings-table.sh

model: ## Check the model of the last phases with spin; breaks each rule in turn.
	protocol-spec/model/check.sh

clean: ## Remove build outputs, reports and fetched data.
	$(CARGO) clean
	rm -rf demo-report .cache
