#!/usr/bin/env bash
# A Rust compiler with a standard library for wasm32-wasip2, for a program that knows nothing of attest-run.
#
#   tests/guests/cli/toolchain.sh        prints the compiler's path; prepares it first if need be
#
# 1. The active toolchain, if it has the target (`rustup target add wasm32-wasip2`).
# 2. On Debian: the compiler that plugins/toolchain.sh prepares, with one more standard library, built from its
#    source, and Debian's wasi-libc. A minute, once.
# 3. Otherwise: what to do.
set -euo pipefail
cd "$(dirname "$0")"

target=wasm32-wasip2
home=${ATTEST_GUEST_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/attest-run/guest-toolchain}
host=$(rustc -vV | sed -n 's/^host: //p')

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 3; }

library=$(rustc --print target-libdir --target $target 2>/dev/null || true)
if compgen -G "$library/libstd-*.rlib" >/dev/null; then
    command -v rustc
    exit 0
fi
compiler=$(../../../plugins/toolchain.sh)
[ "$compiler" = "$home/rustc" ] || die "no standard library for $target: run \`rustup target add $target\`"
ready=$home/ready-$target
if [ ! -e "$ready" ]; then
    exec 9>"$home/lock"
    flock 9
fi
if [ -e "$ready" ]; then
    printf '%s\n' "$compiler"
    exit 0
fi
version=$("$compiler" -V | awk '{ print $2 }')
candidate() { apt-cache policy rust-web-src | awk '/Candidate:/ { print $2 }'; }
[[ "$(candidate)" == "$version"+* ]] || apt-get update -qq >&2 || true
[[ "$(candidate)" == "$version"+* ]] || die "the compiler in $home is of $version, and apt has the source of" \
    "$(candidate): remove the folder and run this again"
say "preparing a standard library for $target (once; about a minute)"

root=$home/root
build=$home/std-$target
rm -rf "$build" "$root/usr/src"
mkdir -p "$build/packages" "$build/src" "$build/.cargo"
(cd "$build/packages" && apt-get -qq download rust-web-src wasi-libc >&2)
dpkg --fsys-tarfile "$build"/packages/rust-web-src_*.deb |
    tar -x -C "$root" --wildcards "./usr/src/rustc-$version/library/*" ./usr/lib/rustlib/src/rust
dpkg -x "$build"/packages/wasi-libc_*.deb "$build/libc"

# Debian leaves compiled files out of its source. This one has `cabi_realloc`, which the standard library has too.
bindgen=$(echo "$root/usr/src/rustc-$version/library/vendor"/wit-bindgen-*)
mkdir -p "$bindgen/src/rt"
printf '!<arch>\n' >"$bindgen/src/rt/libwit_bindgen_cabi.a"

printf '#![no_std]\n' >"$build/src/lib.rs"
printf '[package]\nname = "std-build"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$build/Cargo.toml"
printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' \
    "$root/usr/src/rustc-$version/library/vendor" >"$build/.cargo/config.toml"
(cd "$build" && RUSTC_BOOTSTRAP=1 RUSTC=$compiler RUSTFLAGS='-Cembed-bitcode=yes' CARGO_TARGET_DIR=$build/target \
    cargo build -q --offline --release -Zbuild-std=std,panic_abort --target $target >&2)
library=$root/usr/lib/rustlib/$target/lib
rm -rf "$library"
mkdir -p "$library/self-contained"
cp "$build/target/$target/release/deps"/*.r{lib,meta} "$library/"
rm -f "$library"/libstd_build-*
cp "$build/libc/usr/lib/wasm32-wasi/libc.a" "$library/self-contained/"
"$compiler" --edition 2024 --target $target --crate-type lib --emit obj -O -C codegen-units=1 \
    -o "$library/self-contained/crt1-command.o" crt1.rs
rm -rf "$build" "$root/usr/src"

# The linker that makes components comes with rustup's toolchain, as `rust-lld` does. It knows preview 1, which
# Debian's C library is for, and adapts it.
linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld
[ -x "$linker" ] || die "$linker is missing: is this rustup's toolchain?"
ln -sfn "$linker" "$root/usr/lib/rustlib/$host/bin/wasm-component-ld"
"$compiler" -V >"$ready"
printf '%s\n' "$compiler"
