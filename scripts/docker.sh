#!/bin/sh
# Fetch a container engine for the tests of containers: as root on Debian, unpacked into a folder of its own and
# not installed. The tests start it there; elsewhere they say what they miss.
set -eu
folder=${XDG_CACHE_HOME:-$HOME/.cache}/kestra-dagster/docker-engine
if [ -e "$folder/.ready" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    exit 0
fi
echo "Fetching Docker for the tests of containers ..."
log=$(mktemp)
work=$(mktemp -d)
fetch() { (cd "$work" && apt-get download docker.io containerd runc libdevmapper1.02.1 busybox-static); }
if { fetch || { apt-get update && fetch; }; } >"$log" 2>&1; then
    rm -rf "$folder"
    mkdir -p "$folder"
    for package in "$work"/*.deb; do dpkg -x "$package" "$folder"; done
    touch "$folder/.ready"
else
    tail -n 5 "$log" >&2
    echo "Docker could not be fetched; tests that need an engine will say so." >&2
fi
rm -rf "$log" "$work"
