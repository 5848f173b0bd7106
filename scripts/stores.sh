#!/bin/sh
# Install the servers that tests of task types speak to: as root on Debian, where it is a matter of one
# command. Elsewhere those tests look for them themselves and say what they miss.
set -eu
# An emulator of BigQuery, away from the packages of this project.
place=${XDG_CACHE_HOME:-$HOME/.cache}/kestra-dagster/bigquery-emulator
uv=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/uv
if [ ! -x "$place/bin/bqemulator" ] && [ -x "$uv" ]; then
    echo "Fetching an emulator of BigQuery for the tests ..."
    if ! { "$uv" venv --quiet --clear "$place" && "$uv" pip install --quiet --python "$place/bin/python" bqemulator==1.4.0 numpy; } >&2; then
        rm -rf "$place"
        echo "It could not be fetched; tests that need it will say so." >&2
    fi
fi
missing=
lacks() { # program, package: also where only root finds it
    PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
lacks redis-server redis-server
lacks rabbitmq-server rabbitmq-server
lacks mosquitto mosquitto
lacks nats-server nats-server
lacks sshd openssh-server
lacks mariadbd mariadb-server
if [ -z "$missing" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    exit 0
fi
echo "Installing$missing for the tests ..."
export DEBIAN_FRONTEND=noninteractive
# No service is to start: the tests start their own.
export RUNLEVEL=1
log=$(mktemp)
# shellcheck disable=SC2086 # a list of packages
if ! { apt-get update && apt-get install --yes --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "Not all could be installed; tests that need them will say so." >&2
fi
rm -f "$log"
