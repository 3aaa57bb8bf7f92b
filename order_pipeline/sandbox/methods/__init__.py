"""The platform's methods, one module a family; ``registry.METHODS`` is the table of all.

To add one: write ``handler(context, parameters) -> mapping`` in its family's module and name it in that
module's ``METHODS``. The mapping is what stands inside the root; errors are raised as ``PlatformError``.
"""
