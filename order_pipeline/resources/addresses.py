"""Where things are when nobody said: the embedded server, and the sandbox shop.

Belongs here: the defaults behind the environment (architecture §5). Not here: reading the environment.
"""

from __future__ import annotations

from order_pipeline import configuration
from order_pipeline.configuration import ConfigurationError, Shop

SANDBOX_FILE = "sandbox.json"


def warehouse_url() -> str:
    """Return the warehouse's address from the environment, else start or join the embedded server."""
    configured = configuration.database_url()
    if configured:
        return configured
    from order_pipeline.warehouse import embedded

    return embedded.start(configuration.home()).warehouse_url


def configured_shops(*, or_none: bool = False) -> tuple[Shop, ...]:
    """Return the shops of shops.yaml; without the file, the shop of the sandbox that runs here.

    Raises ConfigurationError when the file is wrong, or (unless ``or_none``) when there is neither a file nor a
    sandbox.
    """
    path = configuration.shops_path()
    if path.exists() or configuration.shops_are_named():
        return configuration.read_shops(path)
    # A running sandbox announces itself in the shape of a shops file.
    announced = configuration.home() / SANDBOX_FILE
    if or_none and not announced.exists():
        return ()
    if not announced.exists():
        raise ConfigurationError(
            f"{path}: not there, and no sandbox shop runs either; write it (see shops.example.yaml), "
            f"or start a sandbox: order-pipeline sandbox"
        )
    return configuration.read_shops(announced)
