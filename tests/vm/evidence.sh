#!/usr/bin/env bash
# Evidence of virtual machines, made afresh: `make vm-evidence`. What tests/evidence/vm.rs looks at.
#
#   evidence.sh make            all scenarios, into target/vm/evidence/NAME
#   evidence.sh store           puts what was made in the place of tests/testdata/vm
#
# Two machines, each with a TPM of its own, and side by side. Firmware, loaders and root file system are the same:
#
#   machine one   secure-boot          Secure Boot with Microsoft's keys: shim, GRUB, Linux 6.1. The first boot
#                 second-boot          the same again
#                 late-ima             and again: files and violations are measured between two quotes, and after them
#   machine two   other-kernel         Linux 6.12. The first boot
#                 other-command-line   Linux 6.1 with an argument more
#                 secure-boot-off      no keys in the firmware
#                 no-event-log         the same, and GRUB's `linux` in the place of `chainloader`: the kernel's EFI stub,
#                                      which saves the log, does not run
#
# A folder has: quote-{ecc-sha256,rsa-sha256,rsa-sha1}.{msg,sig} by ak-{ecc,rsa}.{tpmt,tss,pem} for nonce (hex), the name
# saying key and bank; pcrs.json, of all banks; eventlog.bin and eventlog.yaml (tpm2_eventlog's words); ima.bin and
# ima-violations (how many); ek-rsa.{der,tpmt} and ek-p384.{der,tpmt}, certificate and key, ca-issuer.der, ca-root.der;
# efivars/, attributes in front; release, cmdline, version (of the kernel); made (Unix time). late-ima has earlier-quote-…
# and earlier-pcrs.json, too.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=$(realpath -m "${ATTEST_VM_WORK:-$here/../../target/vm}")
export ATTEST_VM_WORK=$work
made=$work/made
vm() { "$here/vm.sh" "$@"; }
say() { printf 'vm: %s\n' "$*" >&2; }

scenario() { # NAME MACHINE KEYS DISK [PLAN]
    local out=$made/$1 nonce began=$SECONDS
    nonce=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
    vm boot "$2" "$3" "$4" "$out" "$nonce" "${5:-plain}"
    echo "$nonce" >"$out/nonce"
    date +%s >"$out/made"
    openssl x509 -in "$work/machines/$2/ca/issuer.pem" -outform DER -out "$out/ca-issuer.der"
    openssl x509 -in "$work/machines/$2/ca/swtpm-localca-rootca-cert.pem" -outform DER -out "$out/ca-root.der"
    local values
    for values in "$out"/*pcrs.yaml; do
        pcrs_json <"$values" >"${values%.yaml}.json"
        rm "$values"
    done
    [ ! -e "$out/eventlog.bin" ] || tpm2_eventlog "$out/eventlog.bin" >"$out/eventlog.yaml"
    say "$1: $((SECONDS - began)) s"
}

pcrs_json() { # from what tpm2_pcrread writes
    awk '{ gsub(/[ :]+/, " ") }
        $1 ~ /^sha/ { printf "%s\"%s\":{", (banks++ ? "}," : "{"), $1; comma = ""; next }
        { printf "%s\"%d\":\"%s\"", comma, $1, tolower(substr($2, 3)); comma = "," }
        END { print "}}" }'
}

machine_one() {
    vm machine one
    scenario secure-boot one microsoft stable
    scenario second-boot one microsoft stable
    scenario late-ima one microsoft stable late
}

machine_two() {
    vm machine two
    scenario other-kernel two microsoft newer
    scenario other-command-line two microsoft argument
    scenario secure-boot-off two none chained
    scenario no-event-log two none stable
}

make() {
    rm -rf "$made"
    vm build
        vm disk stable stable linux
    vm disk newer newer linux
    vm disk argument stable linux lockdown=confidentiality
    vm disk chained stable chainloader
    # A process group for each, so that nothing stays if this ends before they do.
    set -m
    machine_one </dev/null &
    one=$!
    machine_two </dev/null &
    two=$!
    trap 'kill -- "-$one" "-$two" 2>/dev/null || :' EXIT
    local failed=0
    wait "$one" || failed=1
    wait "$two" || failed=1
    [ "$failed" = 0 ] || { say "no evidence: something failed, see above"; exit 1; }
    rm -rf "$work/evidence"
    mv "$made" "$work/evidence"
    say "all of it is in $work/evidence: $SECONDS s"
}

store() {
    local stored=$here/../testdata/vm name
    rm -rf "$stored"
    for name in "$work"/evidence/*; do
        mkdir -p "$stored/${name##*/}"
        tar -C "$name" --exclude eventlog.yaml --exclude log --exclude 'ek-p384.*' -c . | tar -C "$stored/${name##*/}" -x
    done
    chmod -R a=rX,u+w "$stored"
    du -sh "$stored"
}

case ${1:-} in
make | store) "$1" ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
