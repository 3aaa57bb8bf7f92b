"""Messages over the HTTP API: permissions, groups, consuming and confirming (contract 3.9, 6).

Belongs here: the tmc methods of the platform. Not here: what is published and delivered (``messages``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.errors import invalid_argument
from order_pipeline.sandbox.messages.queues import Queue
from order_pipeline.sandbox.messages.service import DEFAULT_GROUP, UnknownGroupError
from order_pipeline.sandbox.messages.topics import TOPICS
from order_pipeline.sandbox.methods.contract import Context, Method, names, required, whole_number
from order_pipeline.sandbox.shops import Shop

# Contract 3.9.
MOST_TOPICS = 100
FEWEST_MESSAGES, DEFAULT_MESSAGES, MOST_MESSAGES = 10, 100, 200
MOST_CONFIRMED = 200
LONGEST_GROUP_NAME = 32
MOST_NICKS_ADDED, MOST_NICKS_DELETED, MOST_GROUPS = 200, 20, 20
DEFAULT_GROUPS_A_PAGE = 40

_USER_PLATFORM = "tbUIC"
# Neither value is established (contract 3.9 names the fields only).
_RESULT_CODE, _RESULT_MESSAGE = "200", "success"


def user_permit(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Permit the seller's messages from now on; the topics replace earlier ones, none at all means all."""
    topics = names(parameters, "topics", MOST_TOPICS)
    if not TOPICS.issuperset(topics):
        raise invalid_argument("topics")
    context.marketplace.messages.permit(context.seller.id, topics, context.now_ms)
    return {"is_success": True}


def user_cancel(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """End the permission; false without an error code says that there was no such user."""
    shop = _shop_named(context, required(parameters, "nick"))
    return {"is_success": shop is not None and context.marketplace.messages.cancel(shop.id)}


def user_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Who was permitted what; a user without permission is left out."""
    fields = required(parameters, "fields").split(",")
    if "topics" not in fields:
        raise invalid_argument("fields")
    shop = _shop_named(context, required(parameters, "nick"))
    messages = context.marketplace.messages
    permission = messages.permission(shop.id) if shop else None
    if shop is None or permission is None:
        return {}
    user = {
        "created": wall_text(permission.created_ms // 1000),
        "group_name": messages.group_of(shop),
        "is_valid": True,
        "modified": wall_text(permission.modified_ms // 1000),
        "topics": {"string": permission.topics or sorted(TOPICS)},
        "user_id": shop.user_id,
        "user_nick": shop.seller_nick,
        "user_platform": _USER_PLATFORM,
    }
    return {"tmc_user": {name: value for name, value in user.items() if name in fields}}


def user_topics_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the topics that a user permitted."""
    shop = _shop_named(context, required(parameters, "nick"))
    permission = context.marketplace.messages.permission(shop.id) if shop else None
    answer: dict[str, Any] = {"result_code": _RESULT_CODE, "result_message": _RESULT_MESSAGE}
    if permission is not None:
        answer["topics"] = {"string": permission.topics or sorted(TOPICS)}
    return answer


def messages_consume(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Deliver messages of the app's queue: those due again, then new ones in the order of their publication."""
    quantity = whole_number(parameters, "quantity", DEFAULT_MESSAGES, FEWEST_MESSAGES, MOST_MESSAGES)
    messages = context.marketplace.messages
    taken = _queue(context, parameters).take(quantity, context.now_ms)
    # As every empty list (contract 1.4): the key is absent.
    return {"messages": {"tmc_message": [messages.written(identifier) for identifier in taken]}} if taken else {}


def messages_confirm(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Take messages off the queue; ids that were not delivered to it change nothing."""
    required(parameters, "s_message_ids")
    identifiers = names(parameters, "s_message_ids", MOST_CONFIRMED)
    if not all(text.isascii() and text.isdigit() for text in identifiers):
        raise invalid_argument("s_message_ids")
    _queue(context, parameters).confirm([int(text) for text in identifiers])
    return {"is_success": True}


def group_add(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Make a group, or add sellers to it; their earlier messages stay where they are."""
    group = required(parameters, "group_name")
    if len(group) > LONGEST_GROUP_NAME or group.startswith(DEFAULT_GROUP):
        raise invalid_argument("group_name")
    required(parameters, "nicks")
    nicks = names(parameters, "nicks", MOST_NICKS_ADDED)
    if any(_shop_named(context, nick) is None for nick in nicks):
        raise invalid_argument("nicks")
    context.marketplace.messages.add_group(context.app_key, group, nicks)
    return {"created": wall_text(context.now), "group_name": group}


def group_delete(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Take sellers out of a group; without any the whole group goes, and its unread messages with it."""
    group, nicks = required(parameters, "group_name"), names(parameters, "nicks", MOST_NICKS_DELETED)
    try:
        context.marketplace.messages.delete_group(context.app_key, group, nicks)
    except UnknownGroupError:
        raise invalid_argument("group_name") from None
    return {"is_success": True}


def groups_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the app's groups."""
    wanted = names(parameters, "group_names", MOST_GROUPS)
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    page_size = whole_number(parameters, "page_size", DEFAULT_GROUPS_A_PAGE, 1, None)
    found = [name for name in context.marketplace.messages.groups(context.app_key) if not wanted or name in wanted]
    shown = found[(page_no - 1) * page_size : page_no * page_size]
    answer: dict[str, Any] = {"total_results": len(found)}
    if shown:
        answer["groups"] = {"tmc_group": [{"name": name} for name in shown]}
    return answer


def queue_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """How many messages came in and went out today."""
    put, got = _queue(context, parameters).counts(context.now_ms)
    name = _group_name(parameters)
    info = {"broker_name": "sandbox-broker", "get_total": got, "name": f"{context.app_key}_{name}", "put_toal": put}
    return {"datas": {"tmc_queue_info": [info]}}


def _group_name(parameters: Mapping[str, str]) -> str:
    return parameters.get("group_name") or DEFAULT_GROUP


def _queue(context: Context, parameters: Mapping[str, str]) -> Queue:
    try:
        return context.marketplace.messages.queue(context.app_key, _group_name(parameters))
    except UnknownGroupError:
        raise invalid_argument("group_name") from None


def _shop_named(context: Context, nick: str) -> Shop | None:
    shops = context.marketplace.shops.values()
    return next((shop for shop in shops if shop.app_key == context.app_key and shop.seller_nick == nick), None)


METHODS = (
    Method("taobao.tmc.user.permit", user_permit),
    Method("taobao.tmc.user.cancel", user_cancel, needs_session=False),
    Method("taobao.tmc.user.get", user_get, needs_session=False),
    Method("taobao.tmc.user.topics.get", user_topics_get, needs_session=False),
    Method("taobao.tmc.messages.consume", messages_consume, needs_session=False),
    Method("taobao.tmc.messages.confirm", messages_confirm, needs_session=False),
    Method("taobao.tmc.group.add", group_add, needs_session=False),
    Method("taobao.tmc.group.delete", group_delete, needs_session=False),
    Method("taobao.tmc.groups.get", groups_get, needs_session=False),
    Method("taobao.tmc.queue.get", queue_get, needs_session=False),
)
