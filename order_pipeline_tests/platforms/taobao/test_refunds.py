"""Refunds: how one is read, and the platform's two methods against the sandbox over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import OrderPlatform, Refund, RefundVersion, RejectedRecord, Window
from order_pipeline.platforms.taobao.platform import TaobaoPlatform
from order_pipeline.platforms.taobao.refund_parsing import parse_refund, parse_refund_version, parse_stored_refund
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.traffic.errors import NotFoundError
from order_pipeline.warehouse.copying import as_json
from order_pipeline_tests.platforms.taobao.samples import fixture
from order_pipeline_tests.platforms.taobao.test_against_sandbox import START, platform_of, sandbox


def refund(**fields: Any) -> dict[str, Any]:
    return {
        "refund_id": 2026071522135,
        "tid": 2918463730000005258,
        "oid": 2918463730000005259,
        "status": "SUCCESS",
        "created": "2026-03-02 10:00:00",
        "modified": "2026-03-03 09:00:00",
        "refund_fee": "12.50",
        "payment": "87.50",
        "num": 2,
        "has_good_return": True,
        "desc": "too small",
        "attribute": ";a:b;",
    } | fields


def read(**fields: Any) -> Refund:
    record = parse_refund(refund(**fields))
    assert isinstance(record, Refund), record
    return record


def test_a_refund_is_read_field_by_field() -> None:
    record = read()
    assert (record.refund_id, record.order_id, record.item_id) == (
        "2026071522135", "2918463730000005258", "2918463730000005259",
    )  # fmt: skip
    assert (record.refund_fee, record.remaining_payment, record.quantity) == (Decimal("12.50"), Decimal("87.50"), 2)
    assert record.has_good_return is True
    assert record.modified_at == datetime(2026, 3, 3, 9, tzinfo=CHINA)
    assert record.extra == {"attribute": ";a:b;"}


@pytest.mark.parametrize("refund_id", [2026071522135, "2026071522135"])
def test_its_id_may_be_a_number_or_text(refund_id: object) -> None:
    assert read(refund_id=refund_id).refund_id == "2026071522135"


@pytest.mark.parametrize("tid", [None, "", 0, "0"])
def test_a_refund_without_its_order_is_read_all_the_same(tid: object) -> None:
    record = read(tid=tid, oid=tid)
    assert (record.order_id, record.item_id) == (None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("refund_id", None), ("refund_id", "12a"), ("status", ""), ("modified", "yesterday"), ("created", None),
        ("refund_fee", "-1.00"), ("refund_fee", "1.005"), ("num", -1), ("tid", "no"), ("has_good_return", "maybe"),
        ("title", "a\x00b"), ("desc", "\ud800"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_rejected_with_the_reason(field: str, value: object) -> None:
    record = parse_refund(refund(**{field: value}))
    assert isinstance(record, RejectedRecord)
    assert record.refund_id == (None if field == "refund_id" else "2026071522135")
    assert record.order_id is None
    assert len(record.reason) > 5


def test_no_personal_data_is_kept() -> None:
    people = {"buyer_nick": "x", "buyer_open_uid": "y", "alipay_no": "z", "address": "w"}
    kept = parse_refund(refund(**people))
    rejected = parse_refund(refund(**people, status=None))
    assert isinstance(kept, Refund)
    assert isinstance(rejected, RejectedRecord)
    assert not people.keys() & kept.extra.keys()
    assert not people.keys() & json.loads(rejected.body).keys()


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(refund())), inner),
        max_leaves=12,
    )
)
def test_nothing_is_raised_on_any_json(value: object) -> None:
    for parse in (parse_refund, parse_refund_version):
        assert isinstance(parse(value), Refund | RefundVersion | RejectedRecord)
    assert isinstance(parse_stored_refund(json.dumps(value)), Refund | RejectedRecord)


def test_a_refund_that_the_warehouse_refused_is_read_again_by_its_columns() -> None:
    record = read()
    columns = {name: getattr(record, name) for name in record.__struct_fields__}
    again = parse_stored_refund(as_json(columns))
    assert again == record


@pytest.mark.parametrize("name", ["refund_get.official-example.json", "refunds_receive_get.sandbox-2016.json"])
def test_recordings_are_read(name: str) -> None:
    (answer,) = fixture(name).values()
    rows = [answer["refund"]] if "refund" in answer else answer["refunds"]["refund"]
    for row in rows:
        # The examples leave out fields that the calls did not ask for.
        assert isinstance(parse_refund(refund() | row), Refund)


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with sandbox() as running:
        yield running


@pytest.fixture
def platform(server: SandboxServer) -> TaobaoPlatform:
    return platform_of(server)


RECENT = Window(START - timedelta(days=15), START)


def truth(server: SandboxServer) -> dict[str, str]:
    lines = requests.get(f"{server.url}/sandbox/truth/refunds", params={"shop": "demo-shop"}, timeout=60).text
    rows = [json.loads(line) for line in lines.splitlines()]
    return {str(row["refund_id"]): row["modified"] for row in rows}


@pytest.mark.parametrize("page_size", [100, 7])
def test_the_walk_brings_every_refund_of_every_type(server: SandboxServer, page_size: int) -> None:
    platform: OrderPlatform = platform_of(server, page_size=page_size)
    found = [each for page in platform.changed_refunds(RECENT) for each in page.refunds]
    assert {each.refund_id: f"{each.modified_at:%F %T}" for each in found} == truth(server)
    assert len(found) == len(truth(server)) > 50


def test_versions_are_those_of_the_refunds(platform: TaobaoPlatform) -> None:
    versions = {each.refund_id: each for page in platform.changed_refund_versions(RECENT) for each in page.versions}
    refunds = {each.refund_id: each for page in platform.changed_refunds(RECENT) for each in page.refunds}
    assert versions.keys() == refunds.keys()
    for refund_id, version in versions.items():
        whole = refunds[refund_id]
        assert (version.modified_at, version.status, version.refund_fee, version.quantity) == (
            whole.modified_at, whole.status, whole.refund_fee, whole.quantity,
        )  # fmt: skip


def test_counts_are_of_the_window_and_status(platform: TaobaoPlatform, server: SandboxServer) -> None:
    total = platform.count_changed_refunds(RECENT)
    assert total == len(truth(server))
    by_status = {status: platform.count_changed_refunds(RECENT, status) for status in ("SUCCESS", "CLOSED")}
    assert 0 < sum(by_status.values()) <= total
    with pytest.raises(ValueError, match="NO_REFUND"):
        platform.count_changed_refunds(RECENT, "NO_REFUND")


def test_one_refund_is_fetched_whole_and_read_again_from_its_answer(platform: TaobaoPlatform) -> None:
    listed = next(each for page in platform.changed_refunds(RECENT) for each in page.refunds)
    detail = platform.refund(listed.refund_id)
    assert detail.refund is not None
    assert detail.refund.price is not None
    assert detail.refund.modified_at == listed.modified_at
    assert detail.answer.sent_at.astimezone(UTC) <= START.astimezone(UTC) + timedelta(seconds=1)
    assert platform.read_refund(detail.answer.body) == detail.refund


def test_a_refund_that_does_not_exist_is_not_found(platform: TaobaoPlatform) -> None:
    with pytest.raises(NotFoundError):
        platform.refund("1")
