#!/bin/sh
# Make the virtual environment named by $1, with the project and its tools installed in it.
# PYTHON=... names an interpreter; uv does the work where it is installed.
set -eu
venv=$1

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3.10 python3 python}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

if command -v uv >/dev/null 2>&1; then
    echo "Setting up $venv with uv ..."
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$(find_python | grep . || echo 3.12)" "$venv"
    VIRTUAL_ENV=$venv uv pip install --quiet --compile-bytecode --editable '.[local,celery]' --group dev
else
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python)
        if [ -z "$python" ]; then
            echo "No Python 3.10 to 3.13 found${PYTHON:+ at $PYTHON}. Install one, or name it: make PYTHON=/path/to/python3 ..." >&2
            exit 1
        fi
        echo "Setting up $venv with $("$python" --version) (once, takes a minute or two) ..."
        if ! "$python" -m venv "$venv"; then
            rm -rf "$venv"
            echo "$python cannot make virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' uv
    # Faster than pip, but it knows nothing of pip's own configuration.
    if ! VIRTUAL_ENV=$venv "$venv/bin/uv" pip install --quiet --compile-bytecode --editable '.[local,celery]' --group dev 2>/dev/null; then
        # Dependency groups came with pip 25.1.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[local,celery]' --group dev
    fi
fi
touch "$venv/.ready"
