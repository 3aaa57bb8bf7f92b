"""How a marketplace speaks: the protocol, and one folder a platform."""
