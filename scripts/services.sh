#!/bin/sh
# Install what `make deploy-check` starts beside Dagster: as root on Debian, where it is a matter of one
# command. Elsewhere the checks say what they miss.
set -eu
missing=
for program in redis-server tini nc nginx curl cc; do
    command -v "$program" >/dev/null 2>&1 || missing=yes
done
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing=yes
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    exit 0
fi
echo "Installing PostgreSQL, Redis and what starts them as containers would ..."
export DEBIAN_FRONTEND=noninteractive
# No service of theirs is to start: the checks start their own, in a network of their own.
export RUNLEVEL=1
log=$(mktemp)
if ! { apt-get update && apt-get install --yes --no-install-recommends \
    postgresql redis-server tini netcat-openbsd iproute2 util-linux \
    nginx-light curl openssl gcc libc6-dev; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "They could not be installed; the checks that need them will say so." >&2
fi
rm -f "$log"
