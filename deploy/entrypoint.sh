#!/bin/sh
# For each of these variables with _FILE after its name, give it the content of that file, then run the
# command: secrets that are mounted as files are in no `docker inspect`, and the command finds them
# where it looks. Others, such as SSL_CERT_FILE, mean the file itself.
set -eu
names='PGPASSWORD|KESTRA_[A-Za-z0-9_]+|SECRET_[A-Za-z0-9_]+|AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)'
for variable in $(env | sed -nE "s/^($names)_FILE=.*/\1/p"); do
    eval "file=\$${variable}_FILE"
    if [ ! -r "$file" ]; then
        echo "${variable}_FILE names $file, which cannot be read" >&2
        exit 78
    fi
    export "$variable=$(cat "$file")"
    unset "${variable}_FILE"
done
exec "$@"
