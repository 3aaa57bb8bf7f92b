"""Postgres: tables, migrations, loading, views, the embedded server. Knows no platform and no Dagster."""
