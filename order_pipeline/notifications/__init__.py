"""Telling people: what a message looks like, and the messengers that take it away. Knows no Dagster and no SQL."""
