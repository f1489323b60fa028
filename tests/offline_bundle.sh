#!/usr/bin/env bash
# Install an offline bundle in a network namespace without a network, and pick a few micrographs:
#
#   make bundle && tests/offline_bundle.sh dist/livepick-*-bundle-*.tar [PYTHON]
#
# It needs root for the namespace, 3 GB in $TMPDIR, and ten minutes.
set -euo pipefail

bundle=$(realpath "$1")
python=${2:-$(command -v python3)}
if [[ -z ${LIVEPICK_OFFLINE:-} ]]; then
    exec env -i PATH="$PATH" HOME=/nonexistent TMPDIR="${TMPDIR:-/tmp}" LIVEPICK_OFFLINE=1 \
        unshare --net "$0" "$bundle" "$python"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
ip link set lo up
[[ $(ip -o link | wc -l) -eq 1 ]] || { echo "there is a network"; exit 1; }

tar -xf "$bundle" -C "$scratch"
sh "$scratch"/livepick-*/install.sh --python "$python" "$scratch/prefix"
rm -rf "$scratch"/livepick-*
PATH=$scratch/prefix/bin:$PATH
cd "$scratch"

livepick simulate Micrographs --micrographs 4 --every 0s
livepick setup session.yaml --yes --watch "$scratch/Micrographs" --diameter 125 \
    --output "$scratch/picks" --state "$scratch/state"
livepick check session.yaml >/dev/null
livepick run session.yaml 2>run.log &
service=$!
for _ in $(seq 300); do
    picked=$({ find picks -name 'sim_*_autopick.star' 2>/dev/null || true; } | wc -l)
    [[ $picked -eq 4 ]] && break
    sleep 1
done
livepick status session.yaml
kill -TERM $service
wait $service
livepick deploy "$scratch/deploy" >/dev/null
[[ $picked -eq 4 ]] && echo "offline bundle: 4 of 4 micrographs picked without a network"
