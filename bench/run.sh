#!/bin/sh
# Measure Strongroom beside restic, borg and borg 2, interleaved in one run: bench/results/.
#
#   QUICK=1        corpora of a tenth, one repetition: some minutes instead of an hour
#   BENCH_DIR      corpora and repositories: 30 GB, a tenth with QUICK; a disk, not memory
#   BENCH_PEERS    where the other programs are, or get installed by root; without root those on
#                  PATH are taken
set -eu
cd "$(dirname "$0")/.."
folder=${BENCH_DIR:-${TMPDIR:-/var/tmp}/strongroom-bench}
peers=${BENCH_PEERS:-$folder-peers}
name=$(date +%Y-%m-%dT%H%M)

if [ -n "${QUICK:-}" ]; then
    data=$folder/data-quick
    scale=0.1
    name=$name-quick
    set -- --repetitions 1
else
    data=$folder/data
    scale=1
    set -- --repetitions 3 --limits
fi

[ "$(id -u)" != 0 ] || sh bench/get_peers.sh "$peers" "$folder"
PATH=$PWD/.venv/bin:$peers/bin:$PATH:/usr/sbin:/sbin
export PATH
python bench/corpus.py --data "$data" --scale $scale
python bench/measure.py --data "$data" --work "$folder/work" --out "bench/results/$name" "$@"
