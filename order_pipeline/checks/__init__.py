"""Asset checks: what must hold of each asset."""
