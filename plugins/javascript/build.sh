#!/usr/bin/env bash
# Builds the step in JavaScript to a component: plugins/javascript/build.sh OUT
#
#   OUT/hello-js/hello-js.wasm          the step, with its step.toml beside it
#   OUT/hello-js/hello-js-command.wasm  the same as a program of the command line, for other runtimes
#
# Needs Node 18 or newer and npm. Nothing is built twice.
set -euo pipefail
out=$(mkdir -p "$1/hello-js" && cd "$1/hello-js" && pwd)
cd "$(dirname "$0")"

tools=../target/javascript
mkdir -p $tools
if ! cmp -s package-lock.json $tools/installed; then
    cp package.json package-lock.json $tools/
    (cd $tools && npm ci --silent --no-audit --no-fund)
    cp package-lock.json $tools/installed
fi

# The worlds of this step, and the packages that they refer to.
wit=$tools/wit
rm -rf $wit
mkdir -p $wit/deps/attest-step
cp wit/*.wit $wit/
cp ../../wit/step.wit $wit/deps/attest-step/
cp ../../wit/deps/*.wit wit/deps/*.wit $wit/deps/

componentize() { # WORLD NAME OPTION...
    local component=$out/$2.wasm
    if [ -e "$component" ] && [ -z "$(find src wit build.sh package-lock.json ../../wit -type f -newer "$component" -print -quit)" ]; then return; fi
    $tools/node_modules/.bin/componentize-qjs --wit $wit --world "$1" --js "src/$1.js" --module-root src \
        --sync --opt-size "${@:3}" --output "$component.part" >/dev/null
    mv "$component.part" "$component"
}
componentize step hello-js --stub-wasi
componentize command hello-js-command
cp step.toml "$out/"
