#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_SECONDS (60), from the inputs that are kept in tests/fuzz/corpus and those that earlier
# runs left in target/fuzz. One line for each target; the first crash ends it all. TARGETS="ear ima": some of them.
set -euo pipefail
cd "$(dirname "$0")"
out=${CARGO_TARGET_DIR:-../../target}/fuzz
mkdir -p "$out"
out=$(realpath "$out")
# What AddressSanitizer keeps of freed memory would be taken for memory of the parsers.
export ASAN_OPTIONS=quarantine_size_mb=8:malloc_context_size=4

for target in ${TARGETS:-$(cargo +nightly fuzz list --fuzz-dir .)}; do
    mkdir -p "$out/$target" "corpus/$target"
    log=$out/$target.log
    # An input may take 5 s and 256 MiB, one allocation 64 MiB.
    if ! cargo +nightly fuzz run --fuzz-dir . "$target" "$out/$target" "corpus/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -timeout=5 -report_slow_units=1 -rss_limit_mb=256 -malloc_limit_mb=64 \
        -artifact_prefix="$out/$target-" -print_final_stats=1 2> "$log"; then
        sed -n '/panicked at/,+2p; /ERROR: /p; /SUMMARY/p' "$log" | head -n 8 >&2
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        echo "$target: ${input:+the input that does it is $input; }the whole story is in $log" >&2
        echo "when it is mended: cp ${input:-INPUT} tests/fuzz/regressions/$target-WHAT-IT-WAS" >&2
        exit 1
    fi
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    inputs=$(sed -n 's/.*corp: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
    printf '%-16s %10d runs %8d/s %6d inputs %4d MiB\n' "$target" \
        "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" "$inputs" "$(stat peak_rss_mb)"
done
