#!/usr/bin/env bash
# A Rust compiler with a standard library for wasm32-unknown-unknown, for the guests.
#
#   plugins/toolchain.sh        prints the compiler's path; prepares it first if need be
#
# 1. The active toolchain, if it has the target (`rustup target add wasm32-unknown-unknown`).
# 2. On Debian: rustc-web and rust-web-src, unpacked into a folder of ours and never installed (the package
#    conflicts with rustup), and the standard library built once from its own source. Some 3 minutes, once.
# 3. Otherwise: what to do.
set -euo pipefail

target=wasm32-unknown-unknown
home=${ATTEST_GUEST_TOOLCHAIN:-${XDG_CACHE_HOME:-$HOME/.cache}/attest-run/guest-toolchain}
host=$(rustc -vV | sed -n 's/^host: //p')

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 3; }

library=$(rustc --print target-libdir --target $target 2>/dev/null || true)
if compgen -G "$library/libstd-*.rlib" >/dev/null; then
    command -v rustc
    exit 0
fi
if [ -e "$home/ready" ]; then
    printf '%s\n' "$home/rustc"
    exit 0
fi
command -v apt-get >/dev/null || die "no standard library for $target: run \`rustup target add $target\`"

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
if [ -e "$home/ready" ]; then
    printf '%s\n' "$home/rustc"
    exit 0
fi
candidate() { apt-cache policy rustc-web | awk '/Candidate:/ { print $2 }' | grep -v none || true; }
[ -n "$(candidate)" ] || apt-get update -qq >&2 || true
version=$(candidate)
version=${version%%+*}
[ -n "$version" ] || die "no standard library for $target, and apt knows no rustc-web:" \
    "run \`rustup target add $target\`"
say "preparing a compiler for the guests: rustc-web $version (once; about 3 minutes)"

std=libstd-rust-web-${version%.*}
llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p' | head -n 1)
root=$home/root
rm -rf "$root" "$home/packages"
mkdir -p "$root" "$home/packages"
(cd "$home/packages" && apt-get -qq download rustc-web "$std" libstd-rust-web-dev rust-web-src "$llvm" >&2)
for package in "$home"/packages/*.deb; do
    case $(basename "$package") in
    rust-web-src_*) # of 340 MB only the library
        dpkg --fsys-tarfile "$package" |
            tar -x -C "$root" --wildcards "./usr/src/rustc-$version/library/*" ./usr/lib/rustlib/src/rust ;;
    *) dpkg -x "$package" "$root" ;;
    esac
done
libraries=$root/usr/lib/x86_64-linux-gnu
missing=$(LD_LIBRARY_PATH=$libraries ldd "$root/usr/bin/rustc" "$libraries"/libLLVM.so.* |
    awk '/not found/ { print $1 }' | sort -u)
if [ -n "$missing" ]; then
    say "libraries that LLVM wants: $missing"
    (cd "$home/packages" && rm -f ./*.deb &&
        apt-get -qq download libedit2 libbsd0 libmd0 libxml2 libicu72 libz3-4 libffi8 libzstd1 >&2)
    for package in "$home"/packages/*.deb; do dpkg -x "$package" "$root"; done
fi
rm -rf "$home/packages"
cat >"$home/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$root/usr/bin/rustc" "\$@"
WRAPPER
chmod +x "$home/rustc"
# The linker comes with rustup's toolchain; Debian's package leaves it out.
linker=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
[ -x "$linker" ] || die "$linker is missing: is this rustup's toolchain?"
mkdir -p "$root/usr/lib/rustlib/$host/bin"
ln -sfn "$linker" "$root/usr/lib/rustlib/$host/bin/rust-lld"

# The standard library, from its own source with the dependencies vendored in it. Afterwards a plain
# `cargo build` with this compiler finds it.
build=$home/std
rm -rf "$build"
mkdir -p "$build/src" "$build/.cargo"
printf '#![no_std]\n' >"$build/src/lib.rs"
printf '[package]\nname = "std-build"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$build/Cargo.toml"
printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' \
    "$root/usr/src/rustc-$version/library/vendor" >"$build/.cargo/config.toml"
(cd "$build" && RUSTC_BOOTSTRAP=1 RUSTC=$home/rustc RUSTFLAGS='-Cembed-bitcode=yes' CARGO_TARGET_DIR=$build/target \
    cargo build -q --offline --release -Zbuild-std=std,panic_abort --target $target >&2)
library=$root/usr/lib/rustlib/$target/lib
rm -rf "$library"
mkdir -p "$library"
cp "$build/target/$target/release/deps"/*.r{lib,meta} "$library/"
rm -rf "$library"/libstd_build-* "$build" "$root/usr/src"
"$home/rustc" -V >"$home/ready"
printf '%s\n' "$home/rustc"
