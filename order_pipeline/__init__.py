"""Keeps a merchant's Postgres equal to the platform: a green run means nothing was lost."""
