#!/bin/sh
# Install the two things pip cannot: bubblewrap (the sandbox) and, where missing, Python's venv module.
# Does nothing where they are there. Where they may not be installed, says what to run, and stops.
set -eu
python=${1:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "error: Python 3.11 or newer is needed, '$python' is $("$python" --version 2>&1 || echo missing)." \
         "Set another with: make PYTHON=/path/to/python3.12 ..." >&2
    exit 3
}

missing=
command -v bwrap >/dev/null 2>&1 || missing="$missing bubblewrap"
command -v setpriv >/dev/null 2>&1 || missing="$missing util-linux"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    missing="$missing $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null 2>&1; then
    install="apt-get install -y$missing"
elif command -v dnf >/dev/null 2>&1; then
    install="dnf install -y$missing"
elif command -v pacman >/dev/null 2>&1; then
    install="pacman -S --noconfirm$missing"
else
    echo "error: these system packages are missing:$missing. Install them with your package manager, then run make again." >&2
    exit 3
fi

if [ "$(id -u)" = 0 ]; then
    run=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    run=sudo
else
    echo "error: these system packages are missing:$missing. Run: sudo $install" >&2
    exit 3
fi

echo "installing system packages:$missing"
log=$(mktemp)
case $install in apt-get*) $run apt-get update -qq >"$log" 2>&1 || true ;; esac
if ! DEBIAN_FRONTEND=noninteractive $run $install >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "error: could not install$missing. Run: sudo $install" >&2
    exit 3
fi
