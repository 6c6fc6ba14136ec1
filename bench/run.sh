#!/bin/sh
# Measure Strongroom beside restic, borg and borg 2, interleaved in one run: bench/results/.
# Then buckets beside restic, care of repositories, and a large disk at small scale.
#
#   QUICK=1        corpora of a tenth, one repetition
#   BENCH_DIR      corpora and repositories: 30 GB, a tenth with QUICK; a disk, not memory
#   BENCH_MEMORY   where the large disk is kept, so that fsync is not what is measured: 4 GB
#   BENCH_PEERS    where the other programs are, or get installed by root; without root those on
#                  PATH are taken
set -eu
cd "$(dirname "$0")/.."
folder=${BENCH_DIR:-${TMPDIR:-/var/tmp}/strongroom-bench}
peers=${BENCH_PEERS:-$folder-peers}
memory=${BENCH_MEMORY:-/dev/shm}/strongroom-bench
name=$(date +%Y-%m-%dT%H%M)

if [ -n "${QUICK:-}" ]; then
    data=$folder/data-quick
    scale=0.1
    name=$name-quick
    repetitions=1
    limits=
    care="--points 100 --megabytes 256"
    quick=--quick
else
    data=$folder/data
    scale=1
    repetitions=3
    limits=--limits
    care=
    quick=
fi

[ "$(id -u)" != 0 ] || sh bench/get_peers.sh "$peers" "$folder"
PATH=$PWD/.venv/bin:$peers/bin:$PATH:/usr/sbin:/sbin
export PATH
python bench/corpus.py --data "$data" --scale $scale
# shellcheck disable=SC2086  # options, several or none
{
    python bench/measure.py --data "$data" --work "$folder/work" --out "bench/results/$name" \
        --repetitions $repetitions $limits
    python bench/buckets.py --data "$data" --work "$folder/work-buckets" \
        --out "bench/results/$name-buckets" --repetitions $repetitions
    python bench/care.py --work "$folder/work-care" --out "bench/results/$name-care" $care
    python bench/scale.py --work "$memory" --out "bench/results/$name-scale" $quick
}
