"""What to buy, and why: order-up-to levels against the inventory position, with the working of every line.

Belongs here: the rule of the purchase list. Not here: the demand forecast (``forecasting``), suppliers' rows
(``suppliers``), accepting a suggestion.

The rule is the periodic-review (R, s, S) policy: a list is made every R days, what is ordered comes L days later, so
stock must last L + R days. Service is *cycle service*: the probability that no piece is short until the next delivery
(not the share of pieces delivered). Terms: Silver, Pyke & Thomas, *Inventory and Production Management in Supply
Chains*, ch. 6.

Stock (``suggest(stock=…)``), one row a SKU, pieces: ``sku``, ``on_hand`` (sellable), ``reserved`` (paid, not shipped),
``held`` (pre-sale deposits; a unit whose final payment is made is reserved, and no longer held). Some deposits are
forfeited: purchases count what is held as far as it is expected to be paid (``Policy.presale_conversion``), while
selling counts it whole, as what may still be claimed must not be sold. Accepted suggestions that have not arrived
belong to the supplier's ``on_order``, so the same list made again suggests nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from order_pipeline.insights.demand import Problem
from order_pipeline.insights.quantiles import demand_quantile

if TYPE_CHECKING:
    import pandas as pd

    from order_pipeline.insights.panel import Numbers

WEEK = 7
# Absurd stock is a slip of the pen or a defect; a suggestion made from it costs money.
MOST_STOCK = 10_000_000


class Policy(NamedTuple):
    """How the merchant buys.

    Attributes:
        service_level: probability that stock lasts until the next delivery.
        review_days: how often the list is made.
        max_cover_days: warn when a purchase covers more days than this; a supplier's own limit goes first.
        presale_conversion: share of deposits whose final payment is expected, 0 to 1.

    """

    service_level: float = 0.9
    review_days: float = 7
    max_cover_days: float = 90
    presale_conversion: float = 1.0


class Restock(NamedTuple):
    """The purchase list and what could not be decided.

    ``suggestions``, one row for every SKU that is forecast and has stock and a supplier, sorted by SKU:

    | column | meaning |
    |---|---|
    | daily_demand | mean pieces a day |
    | lead_time_days, review_days | L and R |
    | service_level | |
    | lead_time_demand | mean pieces during L |
    | safety_stock | order_up_to less the mean demand over L + R |
    | reorder_point | lead_time_demand + safety_stock, and at least the mean demand over L + R |
    | order_up_to | demand over L + R not exceeded at the service level, and at least its mean |
    | on_hand, on_order, reserved, held | parts of the position; held as far as it is expected to be paid |
    | position | on_hand + on_order - reserved - held |
    | net_need | order_up_to - position, at least 0 |
    | moq, pack_size | |
    | quantity | pieces to buy; 0 with the reason |
    | cover_days_before, cover_days_after | position in days of mean demand; infinite without demand |
    | overshoots_cover | MOQ or pack size force more than the longest cover wanted |
    | model, demand_class, own_wape | from the forecast |
    | reason | a sentence |

    """

    suggestions: pd.DataFrame
    problems: list[Problem]


def suggest(
    forecast: pd.DataFrame, stock: pd.DataFrame, suppliers: pd.DataFrame, policy: Policy | None = None
) -> Restock:
    """Work out the purchase list.

    Args:
        forecast: as ``forecasting.forecast`` makes it.
        stock: see the module.
        suppliers: as ``suppliers.check_suppliers`` returns them.
        policy: how the merchant buys.

    Raises:
        ValueError: the policy makes no sense.

    """
    import numpy as np

    policy = policy or Policy()
    if not 0 < policy.service_level < 1 or policy.review_days <= 0 or policy.max_cover_days <= 0:
        raise ValueError(f"{policy}: the service level must lie between 0 and 1, days above 0; correct the settings")
    stock, problems = _check_stock(stock)
    stock["deposits"] = stock["held"]
    stock["held"] = expected_of_deposits(stock["deposits"], policy.presale_conversion)
    supplied = suppliers.set_index("sku")
    for sku in forecast.loc[forecast["model"] != "dormant", "sku"]:
        if sku not in stock.index:
            problems.append(Problem(sku, "on_hand", "sells, but its stock is not known: no suggestion; correct it"))
        if sku not in supplied.index:
            problems.append(Problem(sku, "lead_time_days", "sells, but has no usable supplier row: add or correct it"))
    lines = forecast.merge(stock, left_on="sku", right_index=True).merge(supplied, left_on="sku", right_index=True)
    lines = lines.sort_values("sku", ignore_index=True)
    lines["daily_demand"] = lines["mean"] / WEEK
    lines["review_days"] = policy.review_days
    lines["service_level"] = policy.service_level
    lines["lead_time_demand"] = lines["daily_demand"] * lines["lead_time_days"]
    lead = lines["lead_time_days"]
    cover = lead + policy.review_days
    mean = lines["daily_demand"] * cover
    lines["order_up_to"] = np.ceil(np.maximum(_needed(lines, cover, policy.service_level), mean))
    lines["safety_stock"] = lines["order_up_to"] - mean
    # The textbook's point is for stock that is watched all the time. Here the next look comes R days later, so never
    # less than the mean demand until the delivery after next.
    lines["reorder_point"] = np.ceil(np.maximum(lines["lead_time_demand"] + lines["safety_stock"], mean))
    lines["position"] = lines["on_hand"] + lines["on_order"] - lines["reserved"] - lines["held"]
    lines["net_need"] = np.maximum(lines["order_up_to"] - lines["position"], 0)
    # What is promised but not there is bought even of SKUs that no longer sell.
    below = (lines["position"] <= lines["reorder_point"]) & (lines["net_need"] > 0)
    wanted = np.maximum(lines["net_need"], lines["moq"])
    packs = np.ceil(wanted / lines["pack_size"]) * lines["pack_size"]
    lines["quantity"] = np.where(below, packs, 0).astype(np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        lines["cover_days_before"] = np.where(
            lines["daily_demand"] > 0, lines["position"] / lines["daily_demand"], np.inf
        )
        after = lines["position"] + lines["quantity"]
        lines["cover_days_after"] = np.where(lines["daily_demand"] > 0, after / lines["daily_demand"], np.inf)
    longest = lines["max_cover_days"].clip(upper=policy.max_cover_days)
    lines["overshoots_cover"] = (lines["quantity"] > lines["net_need"]) & (lines["cover_days_after"] > longest)
    lines["reason"] = _reasons(lines, longest)
    whole = ["reorder_point", "order_up_to", "on_hand", "on_order", "reserved", "held", "position", "net_need", "moq",
             "pack_size"]  # fmt: skip
    lines = lines.astype(dict.fromkeys(whole, "int64"))
    columns = ["sku", "quantity", "reason", "daily_demand", "lead_time_days", "review_days", "service_level",
               "lead_time_demand", "safety_stock", "reorder_point", "order_up_to", "on_hand", "on_order", "reserved",
               "held", "position", "net_need", "moq", "pack_size", "cover_days_before", "cover_days_after",
               "overshoots_cover", "model", "demand_class", "own_wape"]  # fmt: skip
    return Restock(lines[columns], problems)


def expected_of_deposits(held: pd.Series, conversion: float) -> pd.Series:
    """Return how many held pieces are expected to be paid for in the end, rounded up: a piece short costs a sale.

    Raises ValueError for a share that is not between 0 and 1.
    """
    import numpy as np

    if not 0 <= conversion <= 1:
        raise ValueError(f"{conversion} of the deposits become sales: must be 0 to 1; correct the settings")
    # 0.1 x 30 is a little more than 3 in floating point, and not 4 pieces.
    return np.ceil((held * conversion).round(6))  # type: ignore[no-any-return]


def _needed(lines: pd.DataFrame, days: pd.Series, level: float) -> Numbers:
    """Return the demand over ``days`` not exceeded at the level; a lead time that varies adds d² x its variance."""
    # As a variance of 7 days, so that over these days it is what the lead time adds.
    added = (lines["daily_demand"] * lines["lead_time_sd_days"]) ** 2 / (days / WEEK) ** lines["growth"]
    variance = (lines["variance"] + added).to_numpy()
    return demand_quantile(lines["mean"].to_numpy(), variance, days.to_numpy(), level, lines["growth"].to_numpy())


def _check_stock(stock: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    import pandas as pd

    sku = stock["sku"].astype("string").str.strip()
    nameless = sku.isna() | (sku == "")
    twice = sku.duplicated() & ~nameless
    good = ~twice & ~nameless
    problems = [Problem(row, "sku", "empty; write the SKU code") for row in stock.index[nameless]]
    problems += [
        Problem(row, "sku", f"{sku[row]} stands in an earlier row too, which counts; delete one")
        for row in stock.index[twice]
    ]
    numbers = {}
    for name in ("on_hand", "reserved", "held"):
        numbers[name] = pd.to_numeric(stock[name], errors="coerce").astype(float)
        wrong = ~(numbers[name].between(0, MOST_STOCK) & (numbers[name] == numbers[name].round()))
        allowed = f"no whole number from 0 to {MOST_STOCK}: no suggestion for SKU"
        problems += [
            Problem(row, name, f"{stock.at[row, name]!r} is {allowed} {sku[row]}; correct it")
            for row in stock.index[wrong]
        ]
        good &= ~wrong
    return pd.DataFrame(numbers)[good].set_axis(sku[good].to_numpy(dtype=object)), problems


def _reasons(lines: pd.DataFrame, longest: pd.Series) -> list[str]:
    names = ("quantity", "net_need", "position", "reorder_point", "order_up_to", "moq", "pack_size", "model", "held",
             "deposits")  # fmt: skip
    reasons = []
    for quantity, need, position, point, up_to, moq, pack, model, held, deposits, overshoots, limit in zip(
        *(lines[name] for name in names), lines["overshoots_cover"], longest, strict=True
    ):
        counted = f"; {held:g} of {deposits:g} held pieces are expected to be paid" if held < deposits else ""
        if not quantity:
            if model == "dormant" and need <= 0:
                reasons.append("no sale in 56 days")
            elif need <= 0:
                reasons.append(f"position {position:g} reaches the order-up-to level {up_to:g}{counted}")
            else:
                reasons.append(f"position {position:g} is above the reorder point {point:g}{counted}")
            continue
        reason = f"position {position:g} is {need:g} short of {up_to:g}"
        if moq > need:
            reason += f"; MOQ {moq:g}"
        if quantity > max(need, moq):
            reason += f"; packs of {pack:g}"
        if overshoots:
            reason += f"; overshoots {limit:g} days of cover: check before buying"
        reasons.append(reason + counted)
    return reasons
