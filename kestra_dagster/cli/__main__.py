from kestra_dagster.cli import main

main()
