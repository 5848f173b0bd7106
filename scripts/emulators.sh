#!/bin/sh
# Fetch an emulator of BigQuery for the tests, into a folder away from the packages of this project.
set -eu
place=${XDG_CACHE_HOME:-$HOME/.cache}/kestra-dagster/bigquery-emulator
uv=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/uv
if [ -x "$place/bin/bqemulator" ] || [ ! -x "$uv" ]; then
    exit 0
fi
echo "Fetching an emulator of BigQuery for the tests ..."
if ! { "$uv" venv --quiet --clear "$place" && "$uv" pip install --quiet --python "$place/bin/python" bqemulator==1.4.0 numpy; } >&2; then
    rm -rf "$place"
    echo "It could not be fetched; tests that need it will say so." >&2
fi
