#!/usr/bin/env bash
# Builds the steps in JavaScript to components: plugins/javascript/build.sh OUT
#
#   OUT/hello-js/hello-js.wasm          the smallest, with its step.toml beside it
#   OUT/hello-js/hello-js-command.wasm  the same as a program of the command line, for other runtimes
#   OUT/sizes-js/sizes-js.wasm          one that reads a directory
#
# Needs Node 18 or newer and npm. Nothing is built twice.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"

tools=../target/javascript
mkdir -p $tools
if ! cmp -s package-lock.json $tools/installed; then
    cp package.json package-lock.json $tools/
    (cd $tools && npm ci --silent --no-audit --no-fund)
    cp package-lock.json $tools/installed
fi

# The sources, the worlds and the packages that they refer to: as they are for the command, and for steps with WASI by
# another name. componentize-qjs 0.4.5 links its own files when it loads the source, and takes a step's WASI for that
# ("mismatched resource types"). The name is put right in the component, which has WASI 0.2.12 inside, stubbed, and
# may not have it twice; every 0.2 goes with every other.
for to in $tools/step $tools/command; do
    rm -rf $to
    mkdir -p $to/wit/deps/attest-step
    cp -r src wit $to/
    cp ../../wit/step.wit $to/wit/deps/attest-step/
    cp ../../wit/deps/*.wit $to/wit/deps/
done
rm $tools/step/wit/command.wit
find $tools/step -type f -exec sed -i 's/\bwasi:/wxsi:/g' {} +

componentize() { # step|command NAME WORLD OPTION...
    # Its `bin/componentize-qjs` does not start under Node 18.
    node $tools/node_modules/componentize-qjs/cli.mjs --wit $tools/"$1"/wit --world "$3" --js $tools/"$1"/src/"$3".js \
        --module-root $tools/"$1"/src --sync --opt-size --output "$2" "${@:4}" >/dev/null
}
outdated() { # COMPONENT
    mkdir -p "$(dirname "$1")"
    [ ! -e "$1" ] || [ -n "$(find src wit build.sh package-lock.json ../../wit -type f -newer "$1" -print -quit)" ]
}
step() { # NAME WORLD MANIFEST
    local component=$out/$1/$1.wasm
    if outdated "$component"; then
        componentize step "$component.part" "$2" --stub-wasi
        LC_ALL=C sed -i 's#wxsi:\([a-z]*/[a-z-]*\)@0\.2\.12#wasi:\1@0.2.11#g' "$component.part"
        mv "$component.part" "$component"
    fi
    cp "$3" "$out/$1/step.toml"
}
program() { # NAME WORLD
    local component=$out/${1%-command}/$1.wasm
    if outdated "$component"; then
        componentize command "$component.part" "$2"
        mv "$component.part" "$component"
    fi
}
step hello-js step step.toml
step sizes-js sizes sizes.toml
program hello-js-command command
