#!/usr/bin/env bash
# Builds the program to a component of the world wasi:cli/command: tests/guests/cli/build.sh OUT
#
# It lands in OUT/cli/cli.wasm with its step.toml beside it.
set -euo pipefail
out=$(mkdir -p "$1/cli" && cd "$1/cli" && pwd)
cd "$(dirname "$0")"

RUSTC=$(./toolchain.sh)
export RUSTC
cargo build -q --release --target wasm32-wasip2 --target-dir ../target/cli
component=../target/cli/wasm32-wasip2/release/cli.wasm
if [ ! -e "$out/cli.wasm" ] || [ "$component" -nt "$out/cli.wasm" ]; then cp "$component" "$out/cli.wasm"; fi
cp step.toml "$out/"
