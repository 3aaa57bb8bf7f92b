"""A client written from the wire contract alone: plain ``requests``, signed by hand, sharing no code with anyone."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import requests

GMT8 = timezone(timedelta(hours=8))
FORMAT = "%Y-%m-%d %H:%M:%S"
ALL_TYPES = "fixed,auction,step,auto_delivery,ec,cod,tmall_i18n,eticket,nopaid,o2o_offlinetrade"


def sign(parameters: dict[str, str], secret: str, method: str) -> str:
    text = "".join(name + parameters[name] for name in sorted(parameters)).encode()
    key = secret.encode()
    if method == "md5":
        return hashlib.md5(key + text + key).hexdigest().upper()
    digest = hashlib.md5 if method == "hmac" else hashlib.sha256
    return hmac.new(key, text, digest).hexdigest().upper()


class Script:
    """Calls one gateway as one app; ``session`` may be changed or emptied."""

    def __init__(self, url: str, app_key: str, secret: str, session: str) -> None:
        self.url = url
        self.app_key = app_key
        self.secret = secret
        self.session = session
        self.http = requests.Session()

    def parameters(self, method: str, **business: Any) -> dict[str, str]:
        system = {
            "method": method,
            "app_key": self.app_key,
            "session": self.session,
            "timestamp": datetime.now(GMT8).strftime(FORMAT),
            "v": "2.0",
            "sign_method": "md5",
            "format": "json",
        }
        both = system | {name: str(value) for name, value in business.items()}
        return {name: value for name, value in both.items() if value}

    def send(self, parameters: dict[str, str], verb: str = "POST", **options: Any) -> requests.Response:
        if "sign" not in parameters:
            method = parameters.get("sign_method", "md5")
            parameters = parameters | {"sign": sign(parameters, self.secret, method)}
        if verb == "GET":
            return self.http.get(self.url, params=parameters, timeout=60, **options)
        return self.http.request(verb, self.url, data=parameters, timeout=60, **options)

    def call(self, method: str, **business: Any) -> dict[str, Any]:
        response = self.send(self.parameters(method, **business))
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        assert len(answer) == 1
        root = method.removeprefix("taobao.").replace(".", "_") + "_response"
        content: dict[str, Any] = answer.get(root) or answer["error_response"]
        return content

    def pages(self, method: str, **business: Any) -> Iterator[dict[str, Any]]:
        page_no = 1
        while True:
            answer = self.call(method, page_no=page_no, use_has_next="true", **business)
            yield from answer.get("trades", {}).get("trade", [])
            if not answer["has_next"]:
                return
            page_no += 1

    def pages_of_ids(self, method: str, **business: Any) -> list[int]:
        return [trade["tid"] for trade in self.pages(method, fields="tid", page_size=100, **business)]

    def created(self, day: datetime, **business: Any) -> list[dict[str, Any]]:
        start, end = day.strftime(FORMAT), (day + timedelta(days=1)).strftime(FORMAT)
        return list(self.pages("taobao.trades.sold.get", start_created=start, end_created=end, **business))


def truth(base_url: str, shop: str, fields: str | None = None) -> list[dict[str, Any]]:
    parameters = {"shop": shop} | ({"fields": fields} if fields else {})
    response = requests.get(base_url + "/sandbox/truth", params=parameters, timeout=60)
    assert response.status_code == 200
    return [json.loads(line) for line in response.text.splitlines()]
