"""dlt's rest_api source with merge, on the same sandbox and Postgres: the first load, then what changed.

Runs in a virtual environment of its own (bench/peers.txt), so nothing of ours is imported here. Says a line of JSON
after the first load and one after each window that comes in on its input: with everything imported, as inside a code
location that is up.

python bench/peer_dlt.py DATABASE_URL SANDBOX_URL DAYS SHOP_AS_JSON FOLDER
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

CHINA = timezone(timedelta(hours=8))
LIST, CHANGES = "taobao.trades.sold.get", "taobao.trades.sold.increment.get"


def main(database_url: str, sandbox_url: str, days: int, shop: dict[str, str], folder: str) -> None:
    """Load, say how fast, and once more when told."""
    os.environ["DLT_DATA_DIR"] = folder
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    # What its documentation recommends for speed beyond the defaults: COPY from csv instead of INSERT statements.
    os.environ["NORMALIZE__LOADER_FILE_FORMAT"] = "csv"
    import dlt

    pipeline = dlt.pipeline(
        "peer",
        pipelines_dir=folder,
        destination=dlt.destinations.postgres(database_url),
        dataset_name="dlt_peer",
        progress=None,
    )
    today = datetime.now(CHINA).replace(hour=0, minute=0, second=0)
    # The windows of a day each that the floor and we walk, too.
    windows = [(today - timedelta(days=number), today - timedelta(days=number - 1)) for number in range(days, -1, -1)]
    print(json.dumps(load(pipeline, sandbox_url, shop, LIST, "created", windows)), flush=True)
    for line in sys.stdin:
        start, end = map(datetime.fromisoformat, json.loads(line).values())
        print(json.dumps(load(pipeline, sandbox_url, shop, CHANGES, "modified", [(start, end)])), flush=True)


def load(
    pipeline: Any,
    sandbox_url: str,
    shop: dict[str, str],
    method: str,
    moment: str,
    windows: list[tuple[datetime, datetime]],
) -> dict[str, float]:
    """Run the pipeline once over these windows."""
    from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator
    from dlt.sources.rest_api import rest_api_source

    cpu, began = time.process_time(), time.perf_counter()
    root = method.removeprefix("taobao.").replace(".", "_") + "_response"
    source = rest_api_source(
        {
            "client": {"base_url": sandbox_url, "auth": signature(shop)},
            "resource_defaults": {"primary_key": "tid", "write_disposition": "merge"},
            "resources": [
                {
                    "name": f"{moment}_{number}",
                    "table_name": "trades",
                    "endpoint": {
                        "path": "router/rest",
                        "params": {
                            "method": method,
                            "fields": shop["fields"],
                            "type": shop["types"],
                            "page_size": "100",
                            "use_has_next": "true",
                            f"start_{moment}": f"{start:%Y-%m-%d %H:%M:%S}",
                            f"end_{moment}": f"{end:%Y-%m-%d %H:%M:%S}",
                        },
                        "data_selector": f"{root}.trades.trade",
                        "paginator": PageNumberPaginator(
                            base_page=1,
                            page_param="page_no",
                            total_path=None,
                            has_more_path=f"{root}.has_next",
                            stop_after_empty_page=True,
                        ),
                    },
                }
                for number, (start, end) in enumerate(windows)
            ],
        }
    )
    information = pipeline.run(source)
    information.raise_on_failed_jobs()
    seconds = time.perf_counter() - began
    since = f"{windows[0][0]:%Y-%m-%d %H:%M:%S}"
    with pipeline.sql_client() as client:
        orders = client.execute_sql("SELECT count(*) FROM trades")[0][0]
        changed = client.execute_sql("SELECT count(*) FROM trades WHERE modified >= %s", since)[0][0]
        lines = client.execute_sql("SELECT count(*) FROM trades__orders__order")[0][0]
    return {
        "orders": orders,
        "lines": lines,
        "changed": changed,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,
    }


def signature(shop: dict[str, str]) -> Any:
    """Return what adds the platform's system parameters and signs."""
    from dlt.common.configuration import configspec
    from dlt.sources.helpers.rest_client.auth import AuthConfigBase
    from requests import PreparedRequest

    @configspec
    class Signature(AuthConfigBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            address = urlsplit(str(request.url))
            parameters = dict(parse_qsl(address.query)) | {
                "app_key": shop["app_key"],
                "session": shop["session_key"],
                "timestamp": f"{datetime.now(CHINA):%Y-%m-%d %H:%M:%S}",
                "v": "2.0",
                "format": "json",
                "sign_method": "hmac-sha256",
            }
            text = "".join(f"{name}{parameters[name]}" for name in sorted(parameters))
            parameters["sign"] = (
                hmac.new(shop["app_secret"].encode(), text.encode(), hashlib.sha256).hexdigest().upper()
            )
            request.url = address._replace(query=urlencode(parameters)).geturl()
            return request

    return Signature()


if __name__ == "__main__":
    database_url, sandbox_url, days, shop, folder = sys.argv[1:]
    main(database_url, sandbox_url, int(days), json.loads(shop), folder)
