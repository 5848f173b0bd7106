#!/bin/sh
# Install a Java for the tests that run Spark where that is a matter of one command: as root on
# Debian. Elsewhere those tests look for a Java themselves and say what they miss.
set -eu
if [ -n "${JAVA_HOME:-}" ] || java -version >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    exit 0
fi
echo "Installing Java for the tests that run Spark ..."
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
install() {
    apt-get install --yes --no-install-recommends "$1"
}
if ! { apt-get update && { install openjdk-17-jre-headless || install openjdk-21-jre-headless; }; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "Java could not be installed; tests that need Spark will say so." >&2
fi
rm -f "$log"
