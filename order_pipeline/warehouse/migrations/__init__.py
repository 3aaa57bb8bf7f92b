"""Alembic's scripts: how the warehouse's schema came to be, one step a file. Steps are never edited once landed."""
