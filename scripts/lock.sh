#!/bin/sh
# Resolve pyproject.toml in a fresh environment and write what it got to requirements.lock.
set -eu
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
# torch 2.13.0: the version for which a CPU-only build is offered in most places.
"$work/venv/bin/python" -m pip install --quiet "torch==2.13.0" "setuptools>=77" ".[dev,finetune]"
{
    echo "# Exact versions of everything Crucible was tested with. Rewritten by \`make lock\`."
    # A local version (+cpu) names one build of a release; the release is what is locked.
    "$work/venv/bin/python" -m pip freeze --all --exclude pip --exclude crucible-codegen |
        sed -e 's/+[A-Za-z0-9.]*$//' | LC_ALL=C sort -f
} >requirements.lock
wc -l requirements.lock
