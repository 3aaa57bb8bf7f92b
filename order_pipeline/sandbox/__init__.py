"""A local marketplace that speaks the real wire contract."""
