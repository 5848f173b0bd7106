#!/bin/sh
# Fetch with Maven the servers on the JVM that tests of MongoDB, Kafka and OpenSearch speak to. Only on wish:
# no other set-up and no test needs Maven, and tests for which a server is not there are skipped.
set -eu
if ! command -v mvn >/dev/null 2>&1; then
    echo "Maven (mvn) is not on the PATH; install it first." >&2
    exit 1
fi
# A server of MongoDB's protocol.
mongo=de.bwaldvogel:mongo-java-server:1.47.0
jar=${MAVEN_REPOSITORY:-$HOME/.m2/repository}/de/bwaldvogel/mongo-java-server/1.47.0/mongo-java-server-1.47.0.jar
if [ ! -e "$jar" ]; then
    echo "Fetching a server of MongoDB's protocol for the tests ..."
    if ! mvn --quiet --batch-mode dependency:get -Dartifact="$mongo" -Dmaven.repo.local="${jar%/de/bwaldvogel/*}" >&2; then
        echo "It could not be fetched; tests that need it will say so." >&2
    fi
fi
fetch_jars() { # folder, packages: with all that they need
    jars=${XDG_CACHE_HOME:-$HOME/.cache}/kestra-dagster/$1
    shift
    if [ -d "$jars" ]; then
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
