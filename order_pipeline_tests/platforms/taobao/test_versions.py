"""What the nightly proof asks the platform for: counts, versions, and stored details read again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Order, OrderVersion, RejectedRecord
from order_pipeline.platforms.taobao.parsing import parse_trade, parse_version
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import MalformedAnswerError
from order_pipeline_tests.platforms.taobao.samples import trade
from order_pipeline_tests.platforms.taobao.test_against_sandbox import HISTORY, ORDERS, platform_of, sandbox


@pytest.fixture(scope="module")
def server() -> Any:
    with sandbox() as running:
        yield running


def test_versions_say_of_every_order_what_the_whole_list_says(server: SandboxServer) -> None:
    platform = platform_of(server)
    versions = {version.order_id: version for page in platform.created_versions(HISTORY) for version in page.versions}
    orders = [order for page in platform.created_orders(HISTORY) for order in page.orders]
    assert len(versions) == len(orders) == ORDERS
    for order in orders:
        assert versions[order.order_id] == OrderVersion(
            order_id=order.order_id,
            created_at=order.created_at,
            modified_at=order.modified_at,
            status=order.status,
            step_status=order.step_status,
            payment=order.payment,
            lines=len(order.items),
            quantity=sum(item.quantity for item in order.items),
        )


def test_counts_are_one_call_each_and_add_up_over_the_statuses(server: SandboxServer) -> None:
    log = CallLog()
    platform = platform_of(server, log=log)
    assert platform.count_created(HISTORY) == ORDERS
    assert log.total == 1
    assert sum(platform.count_created(HISTORY, status) for status in platform.countable_statuses) == ORDERS


def test_an_order_of_a_type_outside_the_default_filter_is_counted() -> None:
    with sandbox() as server:
        server.marketplace.place_order(DEMO_SHOP.id, order_type="tmall_i18n")
        assert platform_of(server).count_created(HISTORY) == ORDERS + 1


def test_a_status_that_the_platform_cannot_be_asked_for_is_refused_here(server: SandboxServer) -> None:
    with pytest.raises(ValueError, match="NEW_OF_TOMORROW"):
        platform_of(server).count_created(HISTORY, "NEW_OF_TOMORROW")


@pytest.mark.parametrize("fault", ["html", "empty_body", "truncated"])
def test_a_broken_answer_is_no_count(fault: str) -> None:
    with sandbox() as server:
        server.marketplace.faults.switch_on(Fault(name=fault))
        with pytest.raises(MalformedAnswerError):
            platform_of(server).count_created(HISTORY)


def test_a_stored_detail_reads_as_it_did_when_it_came(server: SandboxServer) -> None:
    log = CallLog()
    platform = platform_of(server, log=log)
    order_id = next(iter(platform.created_versions(HISTORY))).versions[0].order_id
    detail = platform.order(order_id)
    calls = log.total
    assert platform.read_detail(detail.answer.body) == detail.order
    assert log.total == calls


@pytest.mark.parametrize("body", ["", "null", "{}", '{"trade_fullinfo_get_response": {}}', '{"error_response": {}}'])
def test_what_is_no_detail_is_not_read_as_one(server: SandboxServer, body: str) -> None:
    with pytest.raises(MalformedAnswerError):
        platform_of(server).read_detail(body)


@pytest.mark.parametrize("field", ["tid", "created", "modified", "status"])
def test_a_version_without_what_it_stands_on_is_rejected_and_says_why(field: str) -> None:
    record = parse_version({name: value for name, value in trade().items() if name != field})
    assert isinstance(record, RejectedRecord)
    assert record.reason.startswith(f"{field}: ")


@pytest.mark.parametrize("orders", [None, {}, [], "x", {"order": [{"num": "many"}]}, {"order": [{}]}, {"order": [1]}])
def test_a_version_whose_lines_cannot_be_read_does_not_say_them(orders: object) -> None:
    version = parse_version(trade() | {"orders": orders})
    assert isinstance(version, OrderVersion)
    assert (version.lines, version.quantity) == (None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["tid", "created", "modified", "status", "step_trade_status", "payment", "orders"]), json_values
    )
)
def test_reading_a_version_never_raises(changes: dict[str, Any]) -> None:
    record = trade() | changes
    version = parse_version(record)
    whole = parse_trade(record)
    if isinstance(version, OrderVersion) and isinstance(whole, Order):
        assert (version.modified_at, version.status) == (whole.modified_at, whole.status)
