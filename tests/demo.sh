#!/usr/bin/env bash
# The demo: a release is signed by a key that never leaves the TPM, a stranger checks it with openssl, and a
# thief gets nothing. Called by `make demo`, which has built what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH=$root/target/release:$PATH
steps=$root/target/steps
work=$(mktemp -d "${TMPDIR:-/tmp}/attest-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT
export ATTEST_RUN_STATE=$work/state ATTEST_RUN_TPM=embedded:$work/state/tpm

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }
show() { printf '$ %s\n' "$*"; "$@"; }
refused() { # STATUS COMMAND...
    local wanted=$1 status=0
    shift
    printf '$ %s\n' "$*"
    "$@" || status=$?
    [ "$status" = "$wanted" ] || { echo "demo: wanted exit status $wanted, got $status"; exit 1; }
    echo "(exit status $status)"
}

say "A release to sign: this repository's sources"
mkdir "$work/dist"
git archive --format=tar.gz --prefix=attest-run/ -o "$work/dist/attest-run-v1.0.0.tar.gz" HEAD
cp README.md "$work/dist/"
cd "$work"
show ls -l dist

say "A key that the TPM made and keeps"
show attest-run keys create release

say "The step runs with what its step.toml declares: one directory, one key to sign with"
cp -r "$steps/release-sign" "$steps/release-sign-poisoned" "$work/"
show attest-run --timings --dir dist=./dist release-sign/release-sign.wasm -- v1.0.0

say "A stranger checks it, with openssl and the public key alone"
show openssl dgst -sha256 -verify dist/release.pub \
    -signature dist/attest-run-v1.0.0.tar.gz.sig dist/attest-run-v1.0.0.tar.gz
show openssl dgst -sha256 -verify dist/release.pub -signature dist/SHA256SUMS.sig dist/SHA256SUMS
(cd dist && show sha256sum --check SHA256SUMS)

say "What a thief gets: the same step with a poisoned dependency that wants a token"
echo "The broker holds the token, for production:"
printf 'npm_ThisTokenIsOnlyForTheDemo' |
    show attest-broker --state "$work/state/broker" secret set npm-token --stage prod
echo
echo "1. The step asks for a secret that its step.toml does not declare. It does not even start:"
refused 126 attest-run --dir dist=./dist release-sign-poisoned/release-sign-poisoned.wasm -- v1.0.0
echo
echo "2. So the thief declares it, too. Policy does not allow it, and nothing is released:"
cat >>release-sign-poisoned/step.toml <<'TOML'

[secrets.npm-token]
use = "reveal"
why = "none of your business"
TOML
show attest-run keys create release --stage prod
refused 126 attest-run --stage prod --dir dist=./dist release-sign-poisoned/release-sign-poisoned.wasm -- v1.0.0 \
    2>&1 | tee refusal
echo
echo "Who runs the broker asks why. The thief was told no more than the id of the entry:"
show attest-broker --state "$work/state/broker" policy explain "$(grep -o 'aud_[a-z2-7]*' refusal | head -n 1)"

say "Done. The TPM, its keys and the broker were in $work, and are gone now."
