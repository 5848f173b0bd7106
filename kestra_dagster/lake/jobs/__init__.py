"""What runs on the cluster: plain Spark jobs for Python 3.9 and Spark 3.5, without this package.

`kestra_dagster.lake.scripts` ships this folder alone; nothing here imports from outside of it.
"""
