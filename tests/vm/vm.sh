#!/usr/bin/env bash
# A virtual machine with UEFI, Secure Boot, a TPM (swtpm) and IMA, made from Debian packages. Needs neither root nor KVM.
# It has no network; only `download` reaches out, to apt's mirrors. The Makefile knows what the host needs (VM_PACKAGES).
#
#   vm.sh download                              kernels, boot loaders, busybox; nothing of it is installed
#   vm.sh build                                 the root file system
#   vm.sh machine NAME                          a new TPM with EK certificates of a CA of its own
#   vm.sh disk NAME KERNEL LOADER [ARGUMENT…]   a disk that boots KERNEL (stable, newer) by GRUB's command LOADER
#                                               (linux, chainloader)
#   vm.sh boot MACHINE KEYS DISK OUT WORD…      boot once, with firmware's KEYS (microsoft, none). What the guest is told
#                                               is WORD…, see guest/init, and what it gathers is in the folder OUT
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
work=${ATTEST_VM_WORK:-$here/../../target/vm}
limit=${ATTEST_VM_SECONDS:-240} # for one boot
firmware=/usr/share/OVMF
# Fixed, so that PCR 5 is the same from build to build.
uuid=5f1d6a3e-0000-4000-8000-00000000000
esp_mib=40 root_mib=80 out_mib=16
say() { printf 'vm: %s\n' "$*" >&2; }

# The cloud kernel that a metapackage stands for. NVMe, TPM and IMA are built in, so that it needs no initrd.
kernel() {
    apt-cache depends --important "$1" 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | tail -n 1
}

download() {
    local new=$work/packages.new
    fetch() {
        rm -rf "$new"
        mkdir -p "$new"
        kernel linux-image-cloud-amd64 >"$new/stable"
        kernel linux-image-6.12-cloud-amd64 >"$new/newer"
        [ -s "$new/stable" ] && [ -s "$new/newer" ] || return
        say "downloading $(cat "$new/stable" "$new/newer" | tr '\n' ' ')shim, GRUB and busybox"
        (cd "$new" && apt-get -qq -o APT::Sandbox::User=root download "$(cat stable)" "$(cat newer)" \
            shim-signed grub-efi-amd64-signed busybox-static)
    }
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    fetch || { "${sudo[@]}" apt-get -qq update && fetch; } || { say "the packages can't be downloaded"; return 1; }
    rm -rf "$work/packages"
    mv "$new" "$work/packages"
}

build() {
    local packages=$work/packages root=$work/root loaders=$work/loaders
    rm -rf "$root" "$loaders"
    mkdir -p "$loaders" "$root"/{bin,dev,etc,proc,sys,tmp}
    take() { # PACKAGE DIRECTORY FILE…
        dpkg-deb --fsys-tarfile "$packages/$1"_*.deb | tar -x -C "$2" --wildcards "${@:3}"
    }
    take shim-signed "$loaders" --transform 's|.*/||' ./usr/lib/shim/shimx64.efi.signed
    take grub-efi-amd64-signed "$loaders" --transform 's|.*/||' ./usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
    local kernel name
    for kernel in stable newer; do
        name=$(cat "$packages/$kernel")
        take "$name" "$loaders" --transform "s|.*/vmlinuz-.*|$kernel|" './boot/vmlinuz-*'
        take "$name" "$root" --transform "s|.*/efivarfs.ko|${name#linux-image-}.ko|" \
            './lib/modules/*/kernel/fs/efivarfs/efivarfs.ko*'
    done
    # The kernel's signature of the module is within what is compressed.
    for name in "$root"/*.ko.xz; do [ ! -e "$name" ] || xz -d "$name"; done

    # ext4 and no initramfs, since IMA's tcb policy leaves ramfs and tmpfs out. The guest's tpm2-tools are the host's, with
    # the libraries that they load.
    take busybox-static "$root" ./bin/busybox
    for name in cat grep head insmod mkdir mount sh sleep sync tar uname; do ln -s busybox "$root/bin/$name"; done
    local tpm2 device
    tpm2=$(command -v tpm2)
    device=$(ldconfig -p | sed -n 's/.*libtss2-tcti-device\.so\.0 .* => //p' | head -n 1)
    install "$tpm2" "$root/bin/tpm2"
    { echo "$device"; ldd "$tpm2" "$device" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x.*/\1/p'; } | sort -u |
        while read -r name; do install -D "$name" "$root$name"; done
    ldconfig -r "$root" -C /etc/ld.so.cache -X "$(dirname "$device")"
    install "$here/guest/init" "$root/init"
    rm -f "$work/root.img"
    mke2fs -q -t ext4 -d "$root" -U "${uuid}9" -E "hash_seed=${uuid}9" "$work/root.img" "${root_mib}M" >/dev/null
}

machine() {
    local state=$work/machines/$1
    rm -rf "$state"
    mkdir -p "$state/tpm" "$state/ca"
    printf '%s\n' "statedir = $state/ca" "signingkey = $state/ca/issuer-key.pem" "issuercert = $state/ca/issuer.pem" \
        "certserial = $state/ca/serial" >"$state/ca.conf"
    printf '%s\n' '--platform-manufacturer Example' '--platform-version 1' '--platform-model VM' >"$state/ca.options"
    printf '%s\n' "create_certs_tool = $(command -v swtpm_localca)" "create_certs_tool_config = $state/ca.conf" \
        "create_certs_tool_options = $state/ca.options" >"$state/setup.conf"
    local user=()
    [ "$(id -u)" != 0 ] || user=(--runas root) # else it becomes the user tss, who may not write here
    swtpm_setup --tpm2 --config "$state/setup.conf" --tpmstate "$state/tpm" "${user[@]}" --create-ek-cert \
        --lock-nvram --pcr-banks sha1,sha256,sha384,sha512 >"$state/setup.log" || { cat "$state/setup.log" >&2; return 1; }
    cp "$firmware/OVMF_VARS_4M.ms.fd" "$state/microsoft.fd"
    cp "$firmware/OVMF_VARS_4M.fd" "$state/none.fd"
}

disk() {
    local disk=$work/disks/$1.img kernel=$2 loader=$3 esp
    shift 3
    mkdir -p "$work/disks"
    rm -f "$disk"
    truncate -s $((esp_mib + root_mib + 2))M "$disk"
    printf '%s\n' 'label: gpt' "label-id: ${uuid}0" "start=1MiB, size=${esp_mib}MiB, type=U, uuid=${uuid}1" \
        "size=${root_mib}MiB, type=L, uuid=${uuid}2" | sfdisk -q "$disk"
    esp=$disk@@1M
    mformat -i "$esp" -F -T $((esp_mib * 2048)) -h 64 -s 32 -N 1 ::
    mmd -i "$esp" ::/EFI ::/EFI/BOOT ::/EFI/debian
    mcopy -i "$esp" "$work/loaders/shimx64.efi.signed" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$esp" "$work/loaders/grubx64.efi.signed" ::/EFI/BOOT/grubx64.efi
    mcopy -i "$esp" "$work/loaders/$kernel" ::/vmlinuz
    mcopy -i "$esp" - ::/EFI/debian/grub.cfg <<CONFIG
$loader /vmlinuz root=PARTUUID=${uuid}2 ro init=/init console=ttyS0 quiet panic=-1 ima_policy=tcb ima_hash=sha256 $*
boot
CONFIG
    dd if="$work/root.img" of="$disk" bs=1M seek=$((esp_mib + 1)) conv=notrunc,sparse status=none
}

boot() {
    local state=$work/machines/$1 keys=$2 disk=$work/disks/$3.img out=$4 run
    shift 4
    run=$(mktemp -d) # a short path: that of a socket has 107 bytes at most
    # swtpm ends with qemu, but not if qemu never came.
    # shellcheck disable=SC2064 # the name is the one of now
    trap "kill \$(cat '$run/swtpm.pid' 2>/dev/null) 2>/dev/null || :; rm -rf '$run'" EXIT
    echo "$*" >"$run/out.img"
    truncate -s "${out_mib}M" "$run/out.img"
    swtpm socket --tpm2 --tpmstate "dir=$state/tpm" --ctrl "type=unixio,path=$run/tpm" --pid "file=$run/swtpm.pid" \
        --terminate --daemon
    local status=0
    timeout --foreground --kill-after 5 "$limit" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -sandbox on,spawn=deny -nic none -serial "file:$run/console" \
        -machine q35,smm=on -accel tcg -cpu max -m 320 -smp 1 \
        -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 \
        -drive "if=pflash,format=raw,readonly=on,file=$firmware/OVMF_CODE_4M.secboot.fd" \
        -drive "if=pflash,format=raw,file=$state/$keys.fd" \
        -chardev "socket,id=tpm,path=$run/tpm" -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0 \
        -device nvme,id=nvme,serial=vm \
        -drive "if=none,id=d1,format=raw,snapshot=on,file=$disk" -device nvme-ns,drive=d1,nsid=1 \
        -drive "if=none,id=d2,format=raw,file=$run/out.img" -device nvme-ns,drive=d2,nsid=2 </dev/null || status=$?
    mkdir -p "$out"
    if [ "$status" = 0 ] && tar -C "$out" -xmf "$run/out.img" && [ "$(cat "$out/failed")" = 0 ]; then
        rm "$out/failed"
        return
    fi
    say "boot into $out failed (qemu: $status; 124 is: took longer than $limit s). The console's last lines:"
    tail -n 30 "$run/console" >&2 || :
    [ ! -e "$out/log" ] || { say "the guest's log:"; cat "$out/log" >&2; }
    return 1
}

case ${1:-} in
download | build | machine | disk | boot) "$@" ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
