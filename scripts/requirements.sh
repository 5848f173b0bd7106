#!/bin/sh
# Write deploy/requirements.txt, the versions in the image, from pyproject.toml. Needs uv.
# Spark is left out: its jobs run on EMR, and it is most of what an image would weigh.
set -eu
cd "$(dirname "$0")/.."
uv pip compile pyproject.toml --quiet --extra celery --python-version 3.12 \
    --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --no-emit-index-url \
    --no-emit-package pyspark --no-emit-package py4j --output-file deploy/requirements.txt
