#!/bin/sh
# Install what tests need beside Python: a browser, a Java, the servers that task types speak to. As root on
# Debian, where it is a matter of one command; elsewhere the tests look for them and say what they miss.
set -eu
missing=
lacks() { # program, package: also where only root finds it
    PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
lacks chromium chromium
lacks chromedriver chromium-driver
[ -n "${JAVA_HOME:-}" ] || lacks java default-jre-headless
lacks redis-server redis-server
lacks rabbitmq-server rabbitmq-server
lacks mosquitto mosquitto
lacks nats-server nats-server
lacks sshd openssh-server
lacks smbd samba
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
