"""The message service of every app: permissions, groups, and the queues behind them (contract 3.9, 6.1).

Belongs here: who is told about which shop, and through which queue. Not here: the wire (``methods.messages``),
delivery (``queues``). Not thread-safe: the marketplace holds the lock. Moments are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.continuity import Permission, SandboxState
from order_pipeline.sandbox.faults import FaultPlan
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.messages.queues import KEPT_MS, Feed, Queue, message_id, read_id
from order_pipeline.sandbox.messages.topics import messages_of
from order_pipeline.sandbox.shops import Shop

DEFAULT_GROUP = "default"
PUBLISHER = 12497914  # the platform itself, in every recording (contract 4.4)


class _Notice(NamedTuple):
    """A message that no order made."""

    at_ms: int
    topic: str
    content: dict[str, Any]


class UnknownGroupError(LookupError):
    """An app named a group that it does not have."""


class MessageService:
    """Everything the platform publishes to its apps."""

    def __init__(
        self,
        shops: Mapping[str, Shop],
        ledgers: Mapping[str, Ledger],
        faults: FaultPlan,
        state: SandboxState,
        *,
        redelivery_seconds: float,
        keep: Callable[[], None],
    ) -> None:
        """Go on with the permissions and groups of ``state``; ``keep`` is called when they have changed."""
        self._shops = list(shops.values())
        self._number_of = {shop.id: number for number, shop in enumerate(self._shops)}
        self._ledgers = ledgers
        self._faults = faults
        self._permissions = state.permissions
        self._groups = state.groups
        self._keep = keep
        self._redelivery_ms = round(redelivery_seconds * 1000)
        self._queues: dict[tuple[str, str], Queue] = {}
        self._feeds: dict[str, Feed] = {}
        self._notices: dict[int, _Notice] = {}
        self._announced = 0
        self._naming: dict[str, dict[str, int]] = {}
        for shop_id, permission in state.permissions.items():
            # Since the first permit, as one that was repeated takes back nothing of what was published before it.
            self._open_feed(shop_id, permission.created_ms)

    # --- permissions ------------------------------------------------------------------------------------------

    def permission(self, shop_id: str) -> Permission | None:
        """Return what a shop lets be told, None if nothing."""
        return self._permissions.get(shop_id)

    def permit(self, shop_id: str, topics: Sequence[str], now_ms: int) -> None:
        """Publish a shop's changes from now on, in these ``topics`` or (none given) in all; replaces the former."""
        earlier = self._permissions.get(shop_id)
        created_ms = earlier.created_ms if earlier else now_ms
        wanted = sorted(set(topics)) or None
        self._permissions[shop_id] = Permission(topics=wanted, created_ms=created_ms, modified_ms=now_ms)
        self._naming.clear()
        self._open_feed(shop_id)
        self._keep()

    def cancel(self, shop_id: str) -> bool:
        """Publish nothing more of a shop; what was published stays. False if nothing was permitted."""
        if self._permissions.pop(shop_id, None) is None:
            return False
        self._naming.clear()
        self._feeds.pop(shop_id).close()
        self._keep()
        return True

    def _open_feed(self, shop_id: str, since_ms: int | None = None) -> None:
        """Publish a shop's changes after a moment, by default those that are still to come."""
        if earlier := self._feeds.get(shop_id):
            earlier.close()
        number, ledger = self._number_of[shop_id], self._ledgers[shop_id]
        shop, topics = self._shops[number], self._permissions[shop_id].topics
        position = ledger.change_count if since_ms is None else ledger.first_change_from(since_ms // 1000)
        feed = Feed(number, shop, ledger, position, since_ms or 0, frozenset(topics) if topics else None)
        self._feeds[shop_id] = feed
        self._queue(shop.app_key, self.group_of(shop)).feeds.append(feed)

    # --- groups -----------------------------------------------------------------------------------------------

    def groups(self, app_key: str) -> list[str]:
        """Return the groups an app has made, in alphabetical order."""
        return sorted(self._groups.get(app_key, ()))

    def add_group(self, app_key: str, group: str, nicks: Collection[str]) -> None:
        """Make a group if it is new and send what these sellers' shops publish from now on through it."""
        groups = self._groups.setdefault(app_key, {})
        self._move(app_key, nicks, group)
        groups.setdefault(group, [])
        groups[group] += [nick for nick in nicks if nick not in groups[group]]
        self._reroute(app_key, nicks)

    def delete_group(self, app_key: str, group: str, nicks: Collection[str]) -> None:
        """Take sellers out of a group, or (none named) remove it with what is unread. UnknownGroupError."""
        groups = self._groups.get(app_key, {})
        if group not in groups:
            raise UnknownGroupError(group)
        gone = list(nicks) or groups[group]
        groups[group] = [nick for nick in groups[group] if nick not in gone]
        if not nicks:
            del groups[group]
        self._reroute(app_key, gone)
        if not nicks:
            self._queues.pop((app_key, group), None)

    def _move(self, app_key: str, nicks: Collection[str], group: str) -> None:
        """Take sellers out of the other groups: each is in one at most."""
        for other, members in self._groups[app_key].items():
            if other != group:
                members[:] = [nick for nick in members if nick not in nicks]

    def _reroute(self, app_key: str, nicks: Collection[str]) -> None:
        for shop in self._shops:
            if shop.app_key == app_key and shop.seller_nick in nicks and shop.id in self._permissions:
                self._open_feed(shop.id)
        self._keep()

    def group_of(self, shop: Shop) -> str:
        """Return the group through which a shop's messages go at present."""
        for group, nicks in self._groups.get(shop.app_key, {}).items():
            if shop.seller_nick in nicks:
                return group
        return DEFAULT_GROUP

    def queue(self, app_key: str, group: str) -> Queue:
        """Return the queue of a group. UnknownGroupError if the app has no such group."""
        if group != DEFAULT_GROUP and group not in self._groups.get(app_key, {}):
            raise UnknownGroupError(group)
        return self._queue(app_key, group)

    def _queue(self, app_key: str, group: str) -> Queue:
        key = (app_key, group)
        if key not in self._queues:
            self._queues[key] = Queue(self._redelivery_ms, self._faults, self._published_ms)
        return self._queues[key]

    # --- messages ---------------------------------------------------------------------------------------------

    def announce(
        self, shop_id: str, topic: str, content: dict[str, Any], now_ms: int, *, if_named: bool = False
    ) -> None:
        """Publish something that no order made, if the shop's permission covers its topic.

        With ``if_named`` it must name the topic: what comes in masses an app has to ask for.
        """
        permission = self._permissions.get(shop_id)
        if permission is None or (permission.topics is None and if_named):
            return
        if permission.topics is not None and topic not in permission.topics:
            return
        shop = self._shops[self._number_of[shop_id]]
        # They stand in the order of their publication.
        while self._notices and next(iter(self._notices.values())).at_ms <= now_ms - KEPT_MS:
            del self._notices[next(iter(self._notices))]
        identifier = message_id(self._number_of[shop_id], self._announced, 0, notice=True)
        self._announced += 1
        self._notices[identifier] = _Notice(now_ms, topic, content)
        self._queue(shop.app_key, self.group_of(shop)).put(identifier, now_ms)

    def shops_naming(self, topic: str) -> Mapping[str, int]:
        """Return the shops whose permission names a topic, with the moment since when."""
        if topic not in self._naming:
            self._naming[topic] = {
                shop_id: permission.modified_ms
                for shop_id, permission in self._permissions.items()
                if permission.topics is not None and topic in permission.topics
            }
        return self._naming[topic]

    def _published_ms(self, identifier: int) -> int:
        shop_number, position, _, is_notice = read_id(identifier)
        if is_notice:
            return self._notices[identifier].at_ms if identifier in self._notices else 0
        trade, version = self._ledgers[self._shops[shop_number].id].change_at(position)
        return trade.applied[version - 1].at_ms

    def written(self, identifier: int) -> dict[str, Any]:
        """Return a message as it stands in an answer (contract 4.4)."""
        shop_number, position, number, is_notice = read_id(identifier)
        shop = self._shops[shop_number]
        if is_notice:
            at_ms, topic, content = self._notices[identifier]
        else:
            trade, version = self._ledgers[shop.id].change_at(position)
            at_ms = trade.applied[version - 1].at_ms
            topic, content = list(messages_of(trade.at_version(version), shop))[number]
        message = {
            "content": msgspec.json.encode(content).decode(),
            "id": identifier,
            "pub_app_key": str(PUBLISHER),
            "pub_time": wall_text(at_ms // 1000),
            "topic": topic,
            "user_id": shop.user_id,
            "user_nick": shop.seller_nick,
        }
        return self._faults.spoilt_message(message, shop.id)
