#!/bin/sh
# Install the servers that tests of task types speak to: as root on Debian, where it is a matter of one
# command. Elsewhere those tests look for them themselves and say what they miss.
set -eu
# A server of MongoDB's protocol, fetched by Maven where that is at hand; it needs a Java.
mongo=de.bwaldvogel:mongo-java-server:1.47.0
jar=${MAVEN_REPOSITORY:-$HOME/.m2/repository}/de/bwaldvogel/mongo-java-server/1.47.0/mongo-java-server-1.47.0.jar
if [ ! -e "$jar" ] && command -v mvn >/dev/null 2>&1; then
    echo "Fetching a server of MongoDB's protocol for the tests ..."
    if ! mvn --quiet --batch-mode dependency:get -Dartifact="$mongo" -Dmaven.repo.local="${jar%/de/bwaldvogel/*}" >&2; then
        echo "It could not be fetched; tests that need it will say so." >&2
    fi
fi
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
fetch_jars() { # folder, packages: with all that they need, where Maven is at hand
    jars=${XDG_CACHE_HOME:-$HOME/.cache}/kestra-dagster/$1
    shift
    if [ -d "$jars" ] || ! command -v mvn >/dev/null 2>&1; then
        return
    fi
    echo "Fetching ${jars##*/} for the tests ..."
    project=$(mktemp -d)
    {
        echo "<project><modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>jars</artifactId><version>1</version><dependencies>"
        for package in "$@"; do
            echo "$package" | sed 's|\(.*\):\(.*\):\(.*\)|<dependency><groupId>\1</groupId><artifactId>\2</artifactId><version>\3</version></dependency>|'
        done
        echo "</dependencies></project>"
    } >"$project/pom.xml"
    if mvn --quiet --batch-mode --file "$project/pom.xml" dependency:copy-dependencies -DoutputDirectory="$project/jars" >&2; then
        mkdir -p "${jars%/*}" && mv "$project/jars" "$jars"
    else
        echo "It could not be fetched; tests that need it will say so." >&2
    fi
    rm -rf "$project"
}
fetch_jars kafka org.apache.kafka:kafka_2.13:4.1.1
fetch_jars opensearch org.opensearch:opensearch:2.19.1 org.opensearch.plugin:transport-netty4-client:2.19.1 \
    org.apache.logging.log4j:log4j-core:2.21.0
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
