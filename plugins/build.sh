#!/usr/bin/env bash
# Builds the guests to components: plugins/build.sh OUT ATTEST_RUN
#
# Each lands in OUT/NAME/NAME.wasm with its step.toml inside, and beside it for people. Those whose manifest tests and demo
# change have it beside them alone.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
attest_run=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
cd "$(dirname "$0")"

target=wasm32-unknown-unknown
RUSTC=$(./toolchain.sh)
export RUSTC
pack() { # CORE NAME MANIFEST [--no-manifest]
    local folder=$out/$2 component=$out/$2/$2.wasm manifest
    mkdir -p "$folder"
    if [ ! -e "$component" ] || [ "$1" -nt "$component" ] || [ "$3" -nt "$component" ]; then
        if [ -n "${4:-}" ]; then manifest=("$4"); else manifest=(--manifest "$3"); fi
        "$attest_run" pack "$1" -o "$component" "${manifest[@]}"
    fi
    cp "$3" "$folder/step.toml"
}

cargo build -q --release --target $target --workspace
core=target/$target/release
for step in github-release hello http-upload oci-push release-sign secret-scan; do
    pack $core/${step//-/_}.wasm $step $step/step.toml
done
pack $core/hostile.wasm hostile ../tests/guests/hostile/step.toml --no-manifest
pack $core/requester.wasm requester ../tests/guests/requester/step.toml --no-manifest

# release-sign with a poisoned dependency in it: what the demo's thief is.
cargo build -q --release --target $target -p release-sign --features poisoned --target-dir target/poisoned
pack target/poisoned/$target/release/release_sign.wasm release-sign-poisoned release-sign/step.toml --no-manifest
