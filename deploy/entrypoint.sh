#!/bin/sh
# For each variable NAME_FILE, give NAME the content of that file, then run the command: secrets that
# are mounted as files are in no `docker inspect`, and the command finds them where it looks.
set -eu
for variable in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)_FILE=.*/\1/p'); do
    eval "file=\$${variable}_FILE"
    if [ ! -r "$file" ]; then
        echo "${variable}_FILE names $file, which cannot be read" >&2
        exit 78
    fi
    export "$variable=$(cat "$file")"
    unset "${variable}_FILE"
done
exec "$@"
