#!/bin/sh
# Install the benchmark's peers: restic, borg 1.4 and borg 2, with wrappers in FOLDER/bin.
#
#   get_peers.sh FOLDER VISIBLE...
#
# They come from Debian unstable, which has the newest of each, in a chroot, so that the system
# stays as it is. The chroot sees the VISIBLE folders (corpora, repositories) under their own
# names. A second call only mounts what is not mounted. Needs root.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "get_peers.sh: needs root, to make a chroot with the peers in it" >&2
    exit 1
fi
mkdir -p "$1/bin"
peers=$(cd "$1" && pwd -P)
shift
root=$peers/sid

# What measuring itself takes: memory by GNU time, and the pipe that stands for the machine's limit.
for pair in debootstrap time zstd openssl mkfs.ext4:e2fsprogs; do
    command -v "${pair%%:*}" >/dev/null || missing="${missing:-} ${pair#*:}"
done
if [ -n "${missing:-}" ]; then
    apt-get update -q
    # shellcheck disable=SC2086  # several words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

if [ ! -e "$root/.ready" ]; then
    # The mirror that this machine already uses, whichever that is.
    # shellcheck disable=SC2016  # apt-get's own placeholder
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
    debootstrap --variant=minbase sid "$root" "$mirror"
    cp /etc/resolv.conf "$root/etc/"
    chroot "$root" sh -c '
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            restic borgbackup borgbackup2'
    touch "$root/.ready"
fi

mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
for folder in "$@"; do
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd -P)
    mkdir -p "$root$folder"
    mountpoint -q "$root$folder" || mount --bind "$folder" "$root$folder"
done

for program in restic borg borg2; do
    cat >"$peers/bin/$program" <<END
#!/bin/sh
exec chroot "$root" sh -c 'cd "\$1" && shift && exec "\$@"' sh "\$PWD" $program "\$@"
END
    chmod +x "$peers/bin/$program"
done
cd /
"$peers/bin/restic" version
"$peers/bin/borg" --version
"$peers/bin/borg2" --version
