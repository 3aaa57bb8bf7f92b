"""A local marketplace that speaks the Taobao Open Platform wire contract.

It stands on the ground: it imports no other room of the package, and its signing is its own code, so that
a mistake in the client cannot hide behind the same mistake here. Start with ``settings.SandboxSettings``
and ``server.SandboxServer``; importing this package alone loads no web framework.
"""
