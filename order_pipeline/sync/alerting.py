"""Alerts about parcels: what is known of them, judged, and told.

Belongs here: one look at a shop's parcels, in one transaction, asking nobody. Not here: the rules
(insights/stalls.py), the life of an alert (insights/alert_episodes.py), following parcels (shipment_traces.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from order_pipeline.insights.alert_episodes import OpenAlert, next_step
from order_pipeline.insights.stalls import (
    MINOR,
    WORDS,
    Contents,
    Finding,
    Judge,
    Parcel,
    Rule,
    StallSettings,
)
from order_pipeline.insights.traces import Meaning
from order_pipeline.insights.working_time import carriers_calendar
from order_pipeline.notifications.digest import shown
from order_pipeline.warehouse.logistics_alerts import (
    ChangedAlert,
    ClosedAlert,
    HeldParcel,
    NewAlert,
    change_alerts,
    close_alerts,
    held_parcels,
    lock_alerts,
    looked_at,
    open_alerts,
)
from order_pipeline.warehouse.notices import Notice, Severity, raise_notice, resolve_notice
from order_pipeline.warehouse.parcels import RETURN, Followed, followed
from order_pipeline.wording import counted

STUCK = "stuck_parcels"
UNANSWERED = "traces_unanswered"

# Two hourly runs without an answer; a third would find thousands of parcels that only seem to stand still.
SILENT_AFTER = timedelta(minutes=90)
# A carrier's clock that is ahead by less may be our own being behind.
AHEAD = timedelta(minutes=5)
# Of a digest a person reads the beginning; the list has the rest.
NAMED_PARCELS = 10


class Alerting(NamedTuple):
    """What came of one look at a shop's parcels.

    ``at``: the platform's time of what is known; None: nothing was followed yet. ``opened``: alerts by rule.
    ``ahead``: parcels whose last event lies in the future. ``silent``: why nothing new is known of any parcel.
    """

    shop_id: str
    at: datetime | None = None
    judged: int = 0
    opened: Mapping[Rule, int] = MappingProxyType({})
    changed: int = 0
    closed: int = 0
    ahead: tuple[str, ...] = ()
    followed: Followed | None = None
    silent: str | None = None


def judge_parcels(connection: Connection, shop_id: str, settings: StallSettings) -> Alerting:
    """Open, change and close the shop's alerts by what is known, with their follow-ups and one notice a rule.

    Safe to repeat: the same knowledge changes nothing.
    """
    lock_alerts(connection, shop_id)
    at = looked_at(connection, shop_id)
    if at is None:
        return Alerting(shop_id)
    judge = Judge(settings, carriers_calendar(at.year, settings.holidays))
    held = held_parcels(connection, shop_id)
    opened: list[tuple[HeldParcel, NewAlert]] = []
    closed: list[ClosedAlert] = []
    changed: list[ChangedAlert] = []
    for parcel in held:
        step = next_step(_open_alert(parcel), judge.judge(_parcel(parcel)))
        known_at = parcel.known_at or at
        if step.close and parcel.alert_id is not None:
            closed.append(ClosedAlert(parcel.alert_id, known_at, step.close))
        if step.change and parcel.alert_id is not None:
            also = [str(rule) for rule in step.change.also]
            changed.append(
                ChangedAlert(
                    parcel.alert_id, str(step.change.rule), also, step.change.crossed_at, known_at, _why(step.change)
                )
            )
        if step.open:
            opened.append((parcel, _new_alert(parcel, step.open, known_at)))
    # First, as a parcel has one open alert at most.
    close_alerts(connection, shop_id, closed)
    change_alerts(connection, shop_id, changed)
    open_alerts(connection, shop_id, [alert for _, alert in opened])
    _tell_stuck(connection, shop_id, opened, at)
    following = followed(connection, shop_id, at)
    silent = silence(following)
    _tell_silence(connection, shop_id, silent)
    return Alerting(
        shop_id,
        at,
        len(held),
        Counter(Rule(alert.rule) for _, alert in opened),
        len(changed),
        len(closed),
        tuple(
            parcel.tracking_number
            for parcel in held
            if parcel.last_event_at and parcel.known_at and parcel.last_event_at > parcel.known_at + AHEAD
        ),
        following,
        silent,
    )


def silence(following: Followed) -> str | None:
    """Return why nothing is known of any parcel lately, None while the interface answers. Pure."""
    if following.checked_at is None or not following.failing:
        return None
    known_at = following.known_at
    if known_at and following.checked_at - known_at < SILENT_AFTER:
        return None
    since = f"since {shown(known_at)}" if known_at else "ever"
    return f"no question about a parcel was answered {since}: {following.last_problem}"


def _parcel(held: HeldParcel) -> Parcel:
    return Parcel(
        shipped_at=held.shipped_at,
        contents=Contents(held.contents),
        state=Meaning(held.state) if held.state else None,
        last_event_at=held.last_event_at,
        known_at=held.known_at,
        is_untracked=held.is_untracked,
        is_return=held.direction == RETURN,
        region=held.region,
        pickup_promised_at=held.pickup_promised_at,
        delivery_promised_at=held.delivery_promised_at,
    )


def _open_alert(held: HeldParcel) -> OpenAlert | None:
    if held.rule is None or held.since is None:
        return None
    return OpenAlert(Rule(held.rule), tuple(Rule(rule) for rule in held.also or ()), held.since)


def _new_alert(parcel: HeldParcel, finding: Finding, opened_at: datetime) -> NewAlert:
    return NewAlert(
        parcel.direction,
        parcel.tracking_number,
        str(finding.rule),
        [str(rule) for rule in finding.also],
        finding.since,
        finding.crossed_at,
        opened_at,
        parcel.order_ids,
        _why(finding),
    )


def _why(finding: Finding) -> str:
    return "; ".join(WORDS[rule] for rule in (finding.rule, *finding.also))


def _tell_stuck(
    connection: Connection, shop_id: str, opened: Sequence[tuple[HeldParcel, NewAlert]], at: datetime
) -> None:
    for rule in Rule:
        of_rule = sorted((pair for pair in opened if pair[1].rule == rule), key=lambda pair: pair[1].since)
        if not of_rule:
            continue
        named = [
            f"{alert.tracking_number} ({parcel.company or 'carrier unknown'}, since {shown(alert.since)}, "
            f"{len(parcel.order_ids)} {'order' if len(parcel.order_ids) == 1 else 'orders'})"
            for parcel, alert in of_rule[:NAMED_PARCELS]
        ]
        more = len(of_rule) - len(named)
        listed = "\n".join([*named, f"and {more} more"] if more else named)
        # Each alert is opened once, so what is told here was never told before.
        raise_notice(
            connection,
            Notice(
                STUCK,
                f"{shop_id} {rule} {at.isoformat()}",
                Severity.INFO if rule in MINOR else Severity.WARNING,
                f"{counted(len(of_rule), 'parcel')} of shop {shop_id}: {WORDS[rule]} ({rule})",
                f"What happened: {WORDS[rule]}. Those that wait longest first:\n{listed}\n"
                f"What it means: their buyers will ask; each has a follow-up.\n"
                f"What to do: order-pipeline follow-ups list --shop {shop_id} --rule {rule}",
            ),
        )


def _tell_silence(connection: Connection, shop_id: str, silent: str | None) -> None:
    if silent is None:
        resolve_notice(
            connection,
            UNANSWERED,
            shop_id,
            title=f"parcels of shop {shop_id} are followed again",
            body="The platform answers questions about parcels again; nothing is to be done.",
        )
        return
    raise_notice(
        connection,
        Notice(
            UNANSWERED,
            shop_id,
            Severity.WARNING,
            f"nothing is known of the parcels of shop {shop_id}",
            f"What happened: {silent}.\n"
            f"What it means: parcels that stand still are not noticed; no alerts are raised for what is not known.\n"
            f"What to do: nothing, if it passes; every hour it is tried again. If it lasts, ask the platform.",
            quiet=None,
        ),
    )
