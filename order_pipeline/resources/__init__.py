"""Thin Dagster resources over the rooms below: configuration in, client out."""
