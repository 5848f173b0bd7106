"""The database of a Dagster instance: pooled Postgres, events written together, old ones purged.

In `dagster.yaml`:

    storage:
      custom:
        module: kestra_dagster.storage
        class: PostgresStorage
        config: {postgres_url: {env: KESTRA_DAGSTER_POSTGRES_URL}}
"""

from kestra_dagster.storage.postgres import PostgresStorage

__all__ = ["PostgresStorage"]
