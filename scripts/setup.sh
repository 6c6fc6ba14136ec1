#!/bin/sh
# Make .venv what the lock files say, with Strongroom in it, run from src/.
#
#   setup.sh run        what the program needs
#   setup.sh demo       the same, and what the demo needs of the system
#   setup.sh develop    all that the checks and tests need
#
# As root it installs the Debian packages that are missing; otherwise it does without them where
# that is possible, and names them where it is not. When nothing has changed it only looks whether
# the bytecode is fresh, so everything else can call it first.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin           # mkfs.ext4 is there; people's own PATH often leaves it out

say() { echo "setup: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# COMMAND:PACKAGE ... → the packages whose command is not there
missing() {
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done
}

# Install Debian packages; false where we may not or cannot.
install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing the Debian packages $*"
    apt-get update -q >&2
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -q --no-install-recommends "$@" >&2
}

# The first Python on PATH that is new enough. A virtual environment's answers with the one it was
# made from: ours may be active, and is about to be made anew. Each is run, not just looked up,
# since version managers leave commands behind for versions that are not there.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        "$name" -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(1)
print("{}/bin/python{}.{}".format(sys.base_prefix, *sys.version_info))' 2>/dev/null && return
    done
    return 1
}

has_ensurepip() { "$python" -c 'import ensurepip' 2>/dev/null; }

# Put pip into .venv where Debian's Python lacks ensurepip and only root could add it: its pip is a
# wheel in a package, and apt fetches a package, signature checked, for anybody who brings folders
# of his own for its lists.
pip_from_debian() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    say "python3-venv is missing and this is not root: taking pip alone out of its Debian package"
    own=$(mktemp -d)
    mkdir -p "$own/state/lists/partial" "$own/cache/archives/partial"
    (
        cd "$own"
        set -- -qq -o Dir::State="$own/state" -o Dir::Cache="$own/cache" \
            -o Dir::State::status=/var/lib/dpkg/status -o Acquire::Languages=none
        apt-get "$@" update >&2 && apt-get "$@" download python3-pip-whl >&2 &&
            dpkg-deb -x python3-pip-whl_*.deb .
    ) && for wheel in "$own"/usr/share/python-wheels/pip-*.whl; do
        .venv/bin/python "$wheel/pip" install -q --no-index "$wheel"
    done
    rm -rf "$own"
    .venv/bin/python -c 'import pip' 2>/dev/null
}

make_venv() {
    rm -rf .venv
    if has_ensurepip; then
        "$python" -m venv .venv
    else
        "$python" -m venv --without-pip .venv
        pip_from_debian || die "$python lacks ensurepip; as root: apt-get install python3-venv"
    fi
}

kind=${1:-run}
lock=requirements.lock
case $kind in
run) packages= ;;
demo) packages=$(missing mkfs.ext4:e2fsprogs) ;;
develop)
    lock=requirements-dev.lock
    packages=$(missing getfacl:acl setfattr:attr setcap:libcap2-bin rsync:rsync \
        mkfs.ext4:e2fsprogs qemu-img:qemu-utils openssl:openssl softhsm2-util:softhsm2 sshd:openssh-server \
        mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs)
    ;;
*) die "choose run, demo or develop, not '$kind'" ;;
esac

python=$(find_python) || packages="python3 python3-venv $packages"
if [ -n "$python" ] && ! has_ensurepip && [ "$(id -u)" = 0 ]; then
    packages="python3-venv $packages"
fi
# shellcheck disable=SC2086  # words, and one line of them
set -- $packages
if [ $# != 0 ] && ! install_packages "$@"; then
    [ "$kind" != develop ] || die "something is missing; as root: apt-get install $*"
fi
[ -n "$python" ] || python=$(find_python) ||
    die "needs Python 3.11 or newer; on Debian 12, as root: apt-get install python3 python3-venv"

# .venv is right if it was made here, by this Python, from these files; what serves development
# serves everything else.
state=$({
    pwd
    "$python" --version
    echo "$python"
    cat scripts/setup.sh pyproject.toml requirements.lock requirements-dev.lock
} | sha256sum | cut -c 1-32)
stamp=.venv/.made
made=$(cat $stamp 2>/dev/null || true)
if [ "$made" != "$state $lock" ] && [ "$made" != "$state requirements-dev.lock" ]; then
    say "making .venv from $lock with $python"
    case $made in "$state "*) ;; *) make_venv ;; esac
    pip() { .venv/bin/python -m pip --disable-pip-version-check -qq "$@"; }
    pip install --require-hashes --only-binary :all: -r $lock
    pip install --no-deps --no-build-isolation --editable .
    # Python 3.11 puts it into every environment, and it costs each start some milliseconds.
    pip uninstall --yes setuptools
    # Libraries carry files that are not for this Python, and those need no bytecode.
    .venv/bin/python -m compileall -qq .venv/lib || true
    echo "$state $lock" >$stamp
fi
# Without bytecode the imports take three times as long, and PYTHONDONTWRITEBYTECODE may be set:
# it keeps imports from writing it, but not compileall.
.venv/bin/python -m compileall -q src
