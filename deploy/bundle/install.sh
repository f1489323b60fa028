#!/bin/sh
# Install livepick @VERSION@ from this bundle alone: no network is used, and root is needed only to
# write to PREFIX.
#
#   sh install.sh [--python PROGRAM] [--extras LIST] [PREFIX]
#
# PREFIX (/opt/livepick) gets a virtual environment. The Python must be @PYTHON@, for which the
# wheels are; a bundle that was made with --python brings its own.
set -eu

python=
extras=@EXTRAS@
prefix=/opt/livepick

refuse() {
    echo "install.sh: $1" >&2
    echo "  $2" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --python) [ $# -gt 1 ] || refuse "--python needs a program" "Such as --python python@PYTHON@."
            python=$2; shift 2 ;;
        --extras) [ $# -gt 1 ] || refuse "--extras needs a list" "Such as --extras @EXTRAS@."
            extras=$2; shift 2 ;;
        -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) refuse "unknown option $1" "Call it as: sh install.sh [--python PROGRAM] [--extras LIST] [PREFIX]" ;;
        *) prefix=$1; shift ;;
    esac
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
case ,$extras, in
    *[!A-Za-z0-9,-]*) refuse "--extras $extras is not a list" "Such as --extras @EXTRAS@." ;;
esac
cd "$(dirname "$0")"
here=$PWD

[ "$(uname -sm)" = "Linux x86_64" ] ||
    refuse "this machine is $(uname -sm), and the bundle is for Linux x86_64" \
        "Make another one on such a machine: make bundle."

echo "livepick @VERSION@ for Python @PYTHON@, picking and training on @DEVICE@"
echo "Checking the files of the bundle"
[ -f SHA256SUMS ] || refuse "SHA256SUMS is missing" "Unpack the tar file again, all of it."
if ! faults=$(sha256sum --check --quiet SHA256SUMS 2>&1); then
    echo "$faults" >&2
    refuse "the bundle is damaged, or a file is missing" "Copy the tar file again, and unpack it again."
fi

if [ -z "$python" ] && [ -x python/bin/python3 ]; then
    [ ! -e "$prefix/python" ] || refuse "$prefix/python exists" "Name another PREFIX, or remove that one."
    mkdir -p "$prefix"
    cp -a python "$prefix/python"
    python=$prefix/python/bin/python3
fi
python=${python:-python@PYTHON@}
command -v "$python" >/dev/null ||
    refuse "there is no $python" \
        "Install Python @PYTHON@, or name it: --python PROGRAM. deploy/install.md says where it comes from."

# One line: version, SQLite, glibc; each is checked here, so that pip cannot fail in the middle.
found=$("$python" -c '
import os, sys
try:
    from sqlite3 import sqlite_version as sqlite
except ImportError:
    sqlite = "0.0"
try:
    glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
except (AttributeError, IndexError, ValueError, OSError):
    glibc = "0.0"
print("%d.%d" % sys.version_info[:2], sqlite, glibc)') ||
    refuse "$python does not run" "Name another Python: --python PROGRAM."
# shellcheck disable=SC2086 # three words
set -- $found
at_least() { # VERSION OLDEST_MAJOR OLDEST_MINOR
    major=${1%%.*}
    rest=${1#*.}
    minor=${rest%%.*}
    [ "$major" -gt "$2" ] || { [ "$major" -eq "$2" ] && [ "$minor" -ge "$3" ]; }
}
[ "$1" = "@PYTHON@" ] ||
    refuse "$python is Python $1, and the wheels are for @PYTHON@" \
        "Name another: --python python@PYTHON@; or make a bundle for $1: make bundle BUNDLE=\"--python-version $1\"."
at_least "$2" 3 37 ||
    refuse "$python has SQLite $2, and livepick needs 3.37 or newer" \
        "Use a Python that brings its own (uv, conda), or a bundle made with --python; deploy/install.md."
at_least "$3" 2 28 ||
    refuse "this system has glibc $3, and the wheels need 2.28 or newer" \
        "Use the container (deploy/container), or a newer system: RHEL 8, Debian 10, Ubuntu 20.04."
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    refuse "$python cannot make virtual environments" "Install them: apt-get install python@PYTHON@-venv"

echo "Installing livepick[$extras] into $prefix"
"$python" -m venv "$prefix"
"$prefix/bin/python" -m pip --isolated install --quiet --disable-pip-version-check --no-index \
    --no-cache-dir --find-links "$here/wheels" --constraint constraints.txt "livepick[$extras]==@VERSION@"

"$prefix/bin/livepick" --version
cat <<NEXT
Installed. Next:
  1. $prefix/bin/livepick setup session.yaml        five questions; it checks its answers
  2. $prefix/bin/livepick run session.yaml          picks appear; stop it by Ctrl-C
  3. $prefix/bin/livepick deploy $prefix/deploy     units, dashboards and alert rules for a service
NEXT
