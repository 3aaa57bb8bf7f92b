"""The floor: the same lists into one table by hand, requests + COPY + one merge, nothing else.

Says a line of JSON after the first load, and one more for each window of changes that comes in on its input.
No worklist, no lines' own table merge guard, no watermark, no quarantine, no walk that survives moving rows: what a
careful script would do at its fastest. python -m bench.floor raw|bare DATABASE_URL SANDBOX_URL DAYS
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg2
import requests

from bench.stage import Stopwatch
from order_pipeline.platforms.taobao.fields import ALL_TYPES, CHANGED_LIST_FIELDS, CREATED_LIST_FIELDS
from order_pipeline.sandbox.shops import DEMO_SHOP

CHINA = timezone(timedelta(hours=8))
PAGES_PER_MERGE = 10
ORDER = ["tid", "status", "type", "created", "pay_time", "consign_time", "end_time", "modified", "payment",
         "total_fee", "discount_fee", "post_fee", "received_payment", "step_trade_status", "seller_flag",
         "buyer_open_uid", "receiver_state", "receiver_city"]  # fmt: skip
LINE = ["oid", "num_iid", "sku_id", "title", "num", "price", "total_fee", "payment", "status", "refund_status"]
TABLES = f"""
CREATE TABLE floor_order ({", ".join(f"{name} text" for name in ORDER)}, PRIMARY KEY (tid));
CREATE TABLE floor_line (tid text, {", ".join(f"{name} text" for name in LINE)}, PRIMARY KEY (tid, oid));
CREATE TABLE floor_raw (tid text PRIMARY KEY, body jsonb);
CREATE TEMP TABLE staged_order (LIKE floor_order);
CREATE TEMP TABLE staged_line (LIKE floor_line);
CREATE TEMP TABLE staged_raw (tid text, body jsonb);
"""


def main(keep_raw: bool, database_url: str, sandbox_url: str, days: int) -> None:
    """Load and say how fast, and once more when told what changed when."""
    connection = psycopg2.connect(database_url.replace("+psycopg2", ""))
    connection.cursor().execute(TABLES)
    connection.commit()
    session = requests.Session()
    today = datetime.now(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)
    whole_days = [created_on(today - timedelta(days=number)) for number in range(days, -1, -1)]
    print(json.dumps(load(connection, session, sandbox_url, whole_days, keep_raw)), flush=True)
    for line in sys.stdin:
        window = json.loads(line)
        took = load(connection, session, sandbox_url, [changed_within(**window)], keep_raw)
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM floor_order WHERE modified >= %s", [window["start"]])
        (changed,) = cursor.fetchone() or (0,)
        print(json.dumps(took | {"changed": changed}), flush=True)


def created_on(day: datetime) -> dict[str, str]:
    """Return what the list of a day's orders is asked with."""
    window = {"start_created": f"{day:%F %T}", "end_created": f"{day + timedelta(days=1):%F %T}"}
    return {"method": "taobao.trades.sold.get", "fields": CREATED_LIST_FIELDS, **window}


def changed_within(start: str, end: str) -> dict[str, str]:
    """Return what the list of changes is asked with."""
    window = {"start_modified": start, "end_modified": end}
    return {"method": "taobao.trades.sold.increment.get", "fields": CHANGED_LIST_FIELDS, **window}


def load(
    connection: Any, session: requests.Session, sandbox_url: str, lists: list[dict[str, str]], keep_raw: bool
) -> dict[str, float]:
    """Walk these lists page by page, merge some pages at a time, and say how fast."""
    cursor = connection.cursor()
    watch = Stopwatch()
    held: list[dict[str, Any]] = []
    orders = calls = pages = 0
    for asked in lists:
        page, more = 1, True
        while more:
            answer = call(session, sandbox_url, asked, page)
            calls += 1
            pages += 1
            trades = answer.get("trades", {}).get("trade", [])
            held += trades
            orders += len(trades)
            more = answer["has_next"]
            page += 1
            if pages == PAGES_PER_MERGE:
                merge(cursor, held, keep_raw)
                connection.commit()
                held, pages = [], 0
    merge(cursor, held, keep_raw)
    connection.commit()
    return {"orders": orders, "seconds": watch.seconds, "calls": calls}


def read_changes(sandbox_url: str, window: dict[str, str]) -> None:
    """Read the list of changes and keep nothing: whoever asks next finds its rows written out already."""
    with requests.Session() as session:
        page, more = 1, True
        while more:
            more = call(session, sandbox_url, changed_within(**window), page)["has_next"]
            page += 1


def call(session: requests.Session, sandbox_url: str, asked: dict[str, str], page: int) -> dict[str, Any]:
    """Ask for one page of a list."""
    parameters = asked | {
        "app_key": DEMO_SHOP.app_key, "session": DEMO_SHOP.session_key, "v": "2.0", "format": "json",
        "timestamp": f"{datetime.now(CHINA):%F %T}", "sign_method": "hmac-sha256", "type": ALL_TYPES,
        "page_size": "100", "page_no": str(page), "use_has_next": "true",
    }  # fmt: skip
    text = "".join(f"{name}{parameters[name]}" for name in sorted(parameters))
    parameters["sign"] = hmac.new(DEMO_SHOP.app_secret.encode(), text.encode(), hashlib.sha256).hexdigest().upper()
    answer = session.post(f"{sandbox_url}/router/rest", data=parameters, timeout=30)
    root = asked["method"].removeprefix("taobao.").replace(".", "_") + "_response"
    content: dict[str, Any] = json.loads(answer.content)[root]
    return content


def merge(cursor: Any, trades: list[dict[str, Any]], keep_raw: bool) -> None:
    """COPY into staging and insert what is new or newer."""
    if not trades:
        return
    copy(cursor, "staged_order", [[trade.get(name) for name in ORDER] for trade in trades])
    copy(
        cursor,
        "staged_line",
        [[trade["tid"], *(line.get(name) for name in LINE)] for trade in trades for line in trade["orders"]["order"]],
    )
    if keep_raw:
        copy(cursor, "staged_raw", [[trade["tid"], json.dumps(trade, ensure_ascii=False)] for trade in trades])
    for table, key, columns in (
        ("order", "tid", ORDER),
        ("line", "tid, oid", LINE),
        *([("raw", "tid", ["tid", "body"])] if keep_raw else []),
    ):
        changes = ", ".join(f"{name} = excluded.{name}" for name in columns)
        newer = "WHERE excluded.modified >= floor_order.modified" if table == "order" else ""
        cursor.execute(
            f"INSERT INTO floor_{table} SELECT * FROM staged_{table} "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes} {newer}"
        )
        cursor.execute(f"TRUNCATE staged_{table}")


def copy(cursor: Any, table: str, rows: list[list[Any]]) -> None:
    """COPY rows as text."""
    lines = ["\t".join("\\N" if value is None else escaped(str(value)) for value in row) for row in rows]
    cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO("\n".join(lines) + "\n"))


def escaped(value: str) -> str:
    """Escape for COPY; str.translate would take fifty times as long."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


if __name__ == "__main__":
    kind, database_url, sandbox_url, days = sys.argv[1:]
    main(kind == "raw", database_url, sandbox_url, int(days))
