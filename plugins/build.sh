#!/usr/bin/env bash
# Builds the guests to components: plugins/build.sh OUT ATTEST_RUN
#
# Each lands in OUT/NAME/NAME.wasm with its step.toml beside it.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
attest_run=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
RUSTC=$(./toolchain.sh)
export RUSTC
pack() { # CORE NAME MANIFEST
    local folder=$out/$2
    mkdir -p "$folder"
    if [ ! -e "$folder/$2.wasm" ] || [ "$1" -nt "$folder/$2.wasm" ]; then
        "$attest_run" pack "$1" -o "$folder/$2.wasm"
    fi
    cp "$3" "$folder/step.toml"
}

cargo build -q --release --target $target --workspace
core=target/$target/release
pack $core/hello.wasm hello hello/step.toml
pack $core/release_sign.wasm release-sign release-sign/step.toml
pack $core/hostile.wasm hostile ../tests/guests/hostile/step.toml

# release-sign with a poisoned dependency in it: what the demo's thief is.
cargo build -q --release --target $target -p release-sign --features poisoned --target-dir target/poisoned
pack target/poisoned/$target/release/release_sign.wasm release-sign-poisoned release-sign/step.toml
