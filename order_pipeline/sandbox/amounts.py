"""What a trade costs, by the platform's formulas (contract 4.1 and 4.2).

Belongs here: pure arithmetic in cents. Not here: text forms (``rendering``).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from order_pipeline.sandbox.trade import DEPOSIT_ONLY, TRADE_FINISHED, Trade


class LineAmounts(msgspec.Struct, frozen=True, gc=False):
    """One line's money: ``total_fee = price * num + adjust - discount``; ``share`` of the trade's discount."""

    total_fee: int
    payment: int
    share: int
    divided: int


class Amounts(msgspec.Struct, frozen=True, gc=False):
    """A trade's money; ``payment`` = the lines' fees - trade discount + postage."""

    total_fee: int
    discount_fee: int
    adjust_fee: int
    payment: int
    received: int
    lines: tuple[LineAmounts, ...]


def amounts_of(trade: Trade) -> Amounts:
    """All amounts of a trade in its present state.

    A line of a multi-line trade shows its fee before the trade's discount; a single line shows what the buyer
    pays, postage included. The trade's own adjust_fee is 0 as soon as there are several lines.
    """
    single = len(trade.lines) == 1
    gross = 0
    fees = []
    for line in trade.lines:
        price = line.source.unit_price * line.quantity
        gross += price
        fees.append(price + line.adjust - line.source.discount)
    goods = sum(fees)
    promotion = min(trade.placement.promotion, goods)
    shares = divide(promotion, fees)
    payment = goods - promotion + trade.post_fee
    lines = tuple(
        LineAmounts(fee, payment if single else fee, share, fee - share)
        for fee, share in zip(fees, shares, strict=True)
    )
    received = 0
    if trade.status == TRADE_FINISHED:
        received = payment - sum(
            amount.divided if line.is_returned else line.returned
            for line, amount in zip(trade.lines, lines, strict=True)
        )
    return Amounts(gross, promotion, trade.lines[0].adjust if single else 0, payment, received, lines)


def refundable(trade: Trade, position: int) -> int:
    """Return what a refund of all the rest of a line would give back; of a deposit only what was paid."""
    lines = amounts_of(trade).lines
    if trade.step_status == DEPOSIT_ONLY:
        # What is left of the deposit follows the lines' shares of the price.
        return divide(trade.placement.deposit, [line.divided for line in lines])[position]
    return lines[position].divided - trade.lines[position].returned


def divide(amount: int, weights: Sequence[int]) -> list[int]:
    """Split ``amount`` by ``weights`` in whole cents; the parts add up exactly and none exceeds its weight.

    Requires 0 <= amount <= sum(weights).
    """
    if amount == 0 or len(weights) == 1:
        return [amount] if len(weights) == 1 else [0] * len(weights)
    parts = []
    # Dividing what is left keeps the sum exact without a second pass for the odd cents.
    left, weight_left = amount, sum(weights)
    for weight in weights:
        part = left * weight // weight_left if weight_left else 0
        parts.append(part)
        left -= part
        weight_left -= weight
    return parts
