"""core.purchase: decisions about suggestions, and what was bought until it is here.

Belongs here: accepting, rejecting, receiving and cancelling, each once however often it is said. Not here: making the
list (restocking.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, text


class UnknownLineError(Exception):
    """A suggestion or purchase that is not there, or cannot be decided (any more); the message says what to do."""


class Decision(NamedTuple):
    """What came of a decision: ``purchase_id`` of an accepted line, ``is_new`` False when it was so before."""

    suggestion_id: int
    shop_id: str
    sku: str
    quantity: int
    purchase_id: int | None
    is_new: bool


def accept(connection: Connection, suggestion_id: int, actor: str, quantity: int | None = None) -> Decision:
    """Put a suggestion on order, due after its lead time; another quantity may be given. Twice is once.

    Raises UnknownLineError for a line that is not there, was rejected, buys nothing, or is on order with another
    quantity.
    """
    line = _locked(connection, suggestion_id)
    if line["state"] == "accepted":
        bought = connection.execute(
            text("SELECT purchase_id, quantity FROM core.purchase WHERE suggestion_id = :id"), {"id": suggestion_id}
        ).one()
        if quantity not in (None, bought.quantity):
            raise UnknownLineError(
                f"suggestion {suggestion_id} (SKU {line['sku']}) is on order with {bought.quantity} pieces, not "
                f"{quantity}, as purchase {bought.purchase_id}: cancel that one, and the next list suggests it anew"
            )
        return Decision(suggestion_id, line["shop_id"], line["sku"], bought.quantity, bought.purchase_id, is_new=False)
    if line["state"] == "rejected":
        raise UnknownLineError(f"suggestion {suggestion_id} (SKU {line['sku']}) was rejected; the next list decides")
    pieces = line["quantity"] if quantity is None else quantity
    if pieces < 1:
        raise UnknownLineError(
            f"suggestion {suggestion_id} (SKU {line['sku']}) buys nothing: {line['reason']}; give a --quantity to buy "
            f"all the same"
        )
    purchase_id = connection.execute(
        text("""
            INSERT INTO core.purchase (shop_id, sku, supplier, quantity, suggestion_id, ordered_by, due_on)
            VALUES (:shop_id, :sku, :supplier, :quantity, :id, :actor,
                    (now() AT TIME ZONE 'Asia/Shanghai')::date + cast(ceil(:lead_time) AS integer))
            RETURNING purchase_id
        """),
        {
            "shop_id": line["shop_id"], "sku": line["sku"], "supplier": line["supplier"], "quantity": pieces,
            "id": suggestion_id, "actor": actor, "lead_time": line["lead_time_days"],
        },
    ).scalar_one()  # fmt: skip
    _decide(connection, suggestion_id, "accepted", actor, None)
    return Decision(suggestion_id, line["shop_id"], line["sku"], pieces, purchase_id, is_new=True)


def reject(connection: Connection, suggestion_id: int, actor: str, why: str) -> Decision:
    """Turn a suggestion down. Twice is once. Raises UnknownLineError for a line that is not there or was accepted."""
    line = _locked(connection, suggestion_id)
    if line["state"] == "accepted":
        raise UnknownLineError(
            f"suggestion {suggestion_id} (SKU {line['sku']}) was accepted; cancel its purchase: "
            f"order-pipeline restock purchases"
        )
    if line["state"] == "open":
        _decide(connection, suggestion_id, "rejected", actor, why)
    return Decision(suggestion_id, line["shop_id"], line["sku"], line["quantity"], None, is_new=line["state"] == "open")


def receive(connection: Connection, purchase_id: int, actor: str, quantity: int | None = None) -> Mapping[str, Any]:
    """Note that pieces of a purchase came: all that were missing, or so many; return the purchase.

    What came whole is closed; closing it again changes nothing. Raises UnknownLineError.
    """
    bought = _locked_purchase(connection, purchase_id)
    if bought["closed_at"] is not None:
        return bought
    missing = max(bought["quantity"] - bought["received_quantity"], 0)
    came = bought["received_quantity"] + (missing if quantity is None else quantity)
    return _purchase(
        connection,
        """
            UPDATE core.purchase SET received_quantity = :came,
                closed_at = CASE WHEN :came >= quantity THEN now() END,
                closed_by = CASE WHEN :came >= quantity THEN :actor END,
                outcome = CASE WHEN :came >= quantity THEN 'received' END
            WHERE purchase_id = :id RETURNING *
        """,
        {"id": purchase_id, "came": came, "actor": actor},
    )


def cancel(connection: Connection, purchase_id: int, actor: str, why: str) -> Mapping[str, Any]:
    """Take what has not come of a purchase off order; return the purchase. Twice is once. Raises UnknownLineError."""
    bought = _locked_purchase(connection, purchase_id)
    if bought["closed_at"] is not None:
        return bought
    return _purchase(
        connection,
        """
            UPDATE core.purchase SET closed_at = now(), closed_by = :actor, outcome = 'cancelled', note = :why
            WHERE purchase_id = :id RETURNING *
        """,
        {"id": purchase_id, "actor": actor, "why": why},
    )


def open_purchases(connection: Connection, shop_ids: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """Return what is on order, the longest due first; ``days_late`` above 0: it should be here (Asia/Shanghai)."""
    rows = connection.execute(
        text("""
            SELECT purchase_id, shop_id, sku, supplier, quantity, received_quantity, ordered_at, ordered_by, due_on,
                   (now() AT TIME ZONE 'Asia/Shanghai')::date - due_on AS days_late
            FROM core.purchase
            WHERE closed_at IS NULL AND (cast(:shop_ids AS text[]) IS NULL OR shop_id = ANY(:shop_ids))
            ORDER BY due_on, purchase_id
        """),
        {"shop_ids": list(shop_ids) if shop_ids else None},
    )
    return list(rows.mappings())  # type: ignore[arg-type]


def shop_of_suggestion(connection: Connection, suggestion_id: int) -> str:
    """Return the shop of a suggestion. Raises UnknownLineError."""
    shop_id = connection.execute(
        text("SELECT shop_id FROM core.restock_suggestion WHERE suggestion_id = :id"), {"id": suggestion_id}
    ).scalar()
    if shop_id is None:
        raise _unknown(suggestion_id)
    return str(shop_id)


def _locked(connection: Connection, suggestion_id: int) -> Mapping[str, Any]:
    row = connection.execute(
        text("SELECT * FROM core.restock_suggestion WHERE suggestion_id = :id FOR UPDATE"), {"id": suggestion_id}
    )
    line = row.mappings().one_or_none()
    if line is None:
        raise _unknown(suggestion_id)
    return line  # type: ignore[return-value]


def _unknown(suggestion_id: int) -> UnknownLineError:
    return UnknownLineError(
        f"there is no suggestion {suggestion_id}; the latest list may be without it: order-pipeline restock list"
    )


def _decide(connection: Connection, suggestion_id: int, state: str, actor: str, why: str | None) -> None:
    connection.execute(
        text("""
            UPDATE core.restock_suggestion
            SET state = :state, decided_at = now(), decided_by = :actor, decision = :why
            WHERE suggestion_id = :id
        """),
        {"id": suggestion_id, "state": state, "actor": actor, "why": why},
    )


def _locked_purchase(connection: Connection, purchase_id: int) -> Mapping[str, Any]:
    row = connection.execute(
        text("SELECT * FROM core.purchase WHERE purchase_id = :id FOR UPDATE"), {"id": purchase_id}
    )
    bought = row.mappings().one_or_none()
    if bought is None:
        raise UnknownLineError(f"there is no purchase {purchase_id}; look: order-pipeline restock purchases")
    return bought  # type: ignore[return-value]


def _purchase(connection: Connection, statement: str, values: dict[str, Any]) -> Mapping[str, Any]:
    return connection.execute(text(statement), values).mappings().one()  # type: ignore[return-value]
