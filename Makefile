# The commands of this project. `make help` lists them.

SHELL := /bin/bash
SUDO  := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CARGO := cargo
BIN   := target/release
STEPS := target/steps

BUILD_PACKAGES := gcc libtss2-dev libtpms-dev pkg-config
TEST_PACKAGES  := $(BUILD_PACKAGES) curl docker-registry libfaketime minisign openssh-client openssl socat strace swtpm swtpm-tools tpm2-tools util-linux
# Node's own packages bring npm along, and conflict with Debian's.
TEST_PACKAGES  += $(shell command -v npm >/dev/null || echo nodejs npm)
VM_PACKAGES    := e2fsprogs fdisk libtss2-tcti-device0 mtools openssl ovmf qemu-system-x86 swtpm swtpm-tools tpm2-tools xz-utils

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build-packages build steps ## Sign a release with a key that never leaves the TPM, and see what a thief gets
	@tests/demo.sh

.PHONY: test
test: test-packages build steps steps-test steps-js steps-cli ## Run all tests. Some need root: they start processes of several users
	TSS2_LOG=all+none $(if $(SUDO),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E") \
	$(CARGO) test --release --workspace -- --test-threads 4
	@if $(MAKE) --no-print-directory target/vm/packages; then $(MAKE) --no-print-directory vm-test; else \
		echo "NOT RUN: \`make vm-test\`, the tests with evidence that virtual machines make afresh, since packages that it"; \
		echo "needs can't be installed or downloaded here (see above). The same tests ran with the evidence in tests/testdata/vm."; \
	fi

.PHONY: vm-test
vm-test: vm-evidence ## Test with evidence that virtual machines make afresh
	TSS2_LOG=all+none ATTEST_VM_EVIDENCE=$(abspath target/vm/evidence) \
	$(CARGO) test --release --workspace --test attest --test evidence vm::

.PHONY: vm-evidence
vm-evidence: target/vm/packages ## Boot virtual machines with Secure Boot, TPM and IMA, and keep what they say. One to three minutes
	tests/vm/evidence.sh make

target/vm/packages: | vm-packages
	tests/vm/vm.sh download

WASMTIME := target/wasmtime/bin/wasmtime

.PHONY: bench
bench: test-packages build steps steps-js $(WASMTIME) ## Measure, both columns of each row in one run (PARTS="leases policy": some). Needs root, and no other load
	TSS2_LOG=all+none $(if $(SUDO),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo -E") \
	$(CARGO) bench --workspace --bench bench -- $(abspath $(WASMTIME)) $(PARTS)

$(WASMTIME):
	$(CARGO) install wasmtime-cli --version 48.0.8 --locked --root target/wasmtime

.PHONY: fuzz
fuzz: fuzz-packages ## Run every parser on made-up bytes, FUZZ_SECONDS=60 each (TARGETS="ear ima": some). Needs a nightly compiler
	@rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked
	@TARGETS="$(TARGETS)" tests/fuzz/run.sh

.PHONY: lint
lint: build-packages ## Check formatting and lints
	$(CARGO) fmt --check
	cd plugins && $(CARGO) fmt --check
	cd tests/fuzz && $(CARGO) fmt --check
	cd tests/guests/cli && $(CARGO) fmt --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	cd plugins && $(CARGO) clippy --workspace --exclude hostile --all-targets -- -D warnings

.PHONY: build
build: ## Build the programs, release mode
	$(CARGO) build --release --workspace --bins

.PHONY: steps
steps: build ## Build the official steps, and those of the tests, to components
	@plugins/build.sh $(STEPS) $(BIN)/attest-run

.PHONY: steps-test
steps-test: ## Run the tests of the SDK and the official steps, on this machine
	cd plugins && $(CARGO) test --quiet --workspace

.PHONY: steps-js
steps-js: ## Build the steps in JavaScript. Needs Node and npm
	@plugins/javascript/build.sh $(STEPS)

.PHONY: steps-cli
steps-cli: ## Build a program of the command line that knows nothing of attest-run, for the tests
	@tests/guests/cli/build.sh $(STEPS)

.PHONY: clean
clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf plugins/target target/vm tests/fuzz/target tests/guests/target

.PHONY: build-packages test-packages vm-packages fuzz-packages
build-packages: packages = $(BUILD_PACKAGES)
test-packages: packages = $(TEST_PACKAGES)
vm-packages: packages = $(VM_PACKAGES)
fuzz-packages: packages = g++
build-packages test-packages vm-packages fuzz-packages:
	@missing=$$(for package in $(packages); do dpkg -s $$package >/dev/null 2>&1 || echo $$package; done); \
	if [ -n "$$missing" ]; then \
		echo "installing" $$missing; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
