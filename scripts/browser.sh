#!/bin/sh
# Install Chromium for the browser tests where that is a matter of one command: as root on Debian.
# Elsewhere the tests look for a browser themselves and say what they miss.
set -eu
if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    exit 0
fi
echo "Installing Chromium for the browser tests ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "Chromium could not be installed; tests that need a browser will say so." >&2
fi
rm -f "$log"
