"""The messengers against a real server: signed as the services want it, and no refusal taken for a success."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from order_pipeline.configuration import NOTIFY_URL, ConfigurationError, notify_urls
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.notifications.notifier import DeliveryError, Message, Notifier, send_within
from order_pipeline_tests.notifications.service import Service, running_service

MESSAGE = Message("库存 low_stock", "first line\nsecond_line")
TOKEN, SECRET = "t0kenT0KEN", "SECs3cret"


@pytest.fixture(scope="module")
def _server() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture
def service(_server: Service) -> Service:
    _server.got.clear()
    _server.hang_seconds = 0.0
    _server.says(200, {"errcode": 0, "errmsg": "ok", "code": 0})
    return _server


def robot(scheme: str, service: Service, user: str = "") -> Notifier:
    (notifier,) = open_notifiers([f"{scheme}://{user}{TOKEN}?server={service.url}"])
    return notifier


def signature(key: str, signed: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()).decode()


def test_dingtalk_gets_a_signed_text_under_its_token(service: Service) -> None:
    robot("dingtalk", service, f"{SECRET}@").send(MESSAGE)
    (got,) = service.got
    assert got.path == "/robot/send"
    assert got.query["access_token"] == TOKEN
    assert got.query["sign"] == signature(SECRET, f"{got.query['timestamp']}\n{SECRET}")
    # Milliseconds: more than an hour off, and DingTalk refuses.
    assert abs(int(got.query["timestamp"]) / 1000 - time.time()) < 60
    assert got.body == {"msgtype": "text", "text": {"content": "库存 low_stock\nfirst line\nsecond_line"}}


@pytest.mark.parametrize("scheme", ["wecom", "wecombot"])
def test_wecom_gets_a_text_under_its_key(service: Service, scheme: str) -> None:
    robot(scheme, service).send(MESSAGE)
    (got,) = service.got
    assert (got.path, got.query) == ("/cgi-bin/webhook/send", {"key": TOKEN})
    assert got.content == "库存 low_stock\nfirst line\nsecond_line"


def test_feishu_gets_its_own_kind_of_signature(service: Service) -> None:
    robot("feishu", service, f"{SECRET}@").send(MESSAGE)
    (got,) = service.got
    assert got.path == f"/open-apis/bot/v2/hook/{TOKEN}"
    assert got.body["sign"] == signature(f"{got.body['timestamp']}\n{SECRET}", "")
    assert abs(int(got.body["timestamp"]) - time.time()) < 60
    assert got.body["msg_type"] == "text"
    assert got.body["content"]["text"].startswith("库存")


def test_a_robot_without_a_secret_signs_nothing(service: Service) -> None:
    robot("dingtalk", service).send(MESSAGE)
    robot("feishu", service).send(MESSAGE)
    assert set(service.got[0].query) == {"access_token"}
    assert set(service.got[1].body) == {"msg_type", "content"}


@pytest.mark.parametrize(
    ("scheme", "status", "answer", "refused", "wait", "said"),
    [
        ("dingtalk", 200, {"errcode": 310000, "errmsg": f"sign not match {SECRET}"}, True, 0, "keyword or IP address"),
        ("dingtalk", 200, {"errcode": 130101, "errmsg": "send too fast"}, False, 600, "more than it takes"),
        ("wecom", 200, {"errcode": 45009, "errmsg": "api freq out of limit"}, False, 60, "more than it takes"),
        ("wecom", 200, {"errcode": 93000, "errmsg": "invalid webhook url"}, True, 0, "does not know this robot"),
        ("feishu", 200, {"code": 19021, "msg": "sign match fail"}, True, 0, "this machine's clock"),
        ("feishu", 400, {"code": 9499, "msg": "Bad Request"}, True, 0, "HTTP 400, code 9499"),
        ("dingtalk", 500, "<html>oops</html>", False, 0, "HTTP 500"),
        ("wecom", 200, "", False, 0, "without an answer of a robot"),
        ("feishu", 200, {"ok": True}, False, 0, "without an answer of a robot"),
        ("dingtalk", 404, "not here", True, 0, "HTTP 404"),
        ("wecom", 500, {"errcode": 0}, True, 0, "HTTP 500"),
        ("feishu", 200, {"code": [], "msg": "ok"}, False, 0, "without an answer of a robot"),
    ],
)
def test_what_was_not_taken_is_never_a_success(
    service: Service, scheme: str, status: int, answer: object, refused: bool, wait: float, said: str
) -> None:
    service.says(status, answer)
    with pytest.raises(DeliveryError) as caught:
        robot(scheme, service, "" if scheme == "wecom" else f"{SECRET}@").send(MESSAGE)
    assert (caught.value.refused, caught.value.retry_in_seconds) == (refused, wait)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_feishus_older_answer_is_a_success_too(service: Service) -> None:
    service.says(200, {"StatusCode": 0, "StatusMessage": "success"})
    robot("feishu", service).send(MESSAGE)


def test_a_service_that_is_not_there_is_named_without_its_address() -> None:
    (notifier,) = open_notifiers([f"dingtalk://{SECRET}@{TOKEN}?server=http://127.0.0.1:9"])
    with pytest.raises(DeliveryError, match=r"sending to dingtalk-\w{6} failed: the connection failed") as caught:
        notifier.send(MESSAGE)
    assert not caught.value.refused
    assert TOKEN not in f"{caught.value!r}{caught.value.__cause__}{notifier!r}"


def test_an_answer_that_never_ends_is_not_waited_for(service: Service) -> None:
    service.hang_seconds = 60
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="no answer within 0 s"):
        send_within(robot("dingtalk", service), MESSAGE, 0.3)
    assert time.monotonic() - began < 20


def test_without_an_address_the_log_gets_it(caplog: pytest.LogCaptureFixture) -> None:
    (notifier,) = open_notifiers([])
    with caplog.at_level(logging.WARNING):
        notifier.send(MESSAGE)
    assert "库存 low_stock" in caplog.text


def test_other_services_go_through_apprise_and_their_refusal_is_seen(service: Service) -> None:
    (notifier,) = open_notifiers([service.url.replace("http://", "json://user:passw0rd@") + "/hook"])
    notifier.send(MESSAGE)
    assert service.got[0].body["title"] == MESSAGE.title
    assert service.got[0].body["message"] == MESSAGE.text
    service.says(500, "no")
    with pytest.raises(DeliveryError, match="error=500") as caught:
        notifier.send(MESSAGE)
    assert "passw0rd" not in f"{caught.value}{notifier!r}"


def test_without_apprise_one_line_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['apprise'] = None\n"
        "from order_pipeline.notifications.addresses import open_notifiers\n"
        "open_notifiers(['dingtalk://TOKEN', 'wecom://KEY'])\n"
        "from order_pipeline.configuration import ConfigurationError\n"
        "try: open_notifiers(['tgram://123456789:geheim/1'])\n"
        "except ConfigurationError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "tgram:// needs the library apprise" in said
    assert "pip install 'order-pipeline[notifications]'" in said
    assert "geheim" not in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("geheim", "is no address; write it as dingtalk://SECRET@TOKEN"),
        ("dingtalk://geheim log", "is no address"),
        ("dingtalk://", "has no token; write it as dingtalk://TOKEN"),
        ("wecom://user@geheim", "robots of wecom have no secret"),
        ("dingtak://geheim", "there is no dingtak://; did you mean dingtalk://?"),
        ("feishu://geheim?servr=x", "unknown parameter 'servr'; known is: server"),
        ("feishu://geheim?server=http://example.com", "is no https address"),
        ("https://example.com/geheim", "of no robot that is known"),
        ("https://oapi.dingtalk.com/robot/send?token=geheim", "has no token; copy the whole address"),
        ("slack://geheim", "apprise cannot read the slack:// address"),
        ("nonsense://geheim", "apprise cannot read the nonsense:// address"),
        ("dingtalk://[geheim", "cannot be read"),
    ],
)
def test_a_wrong_address_is_one_line_that_does_not_repeat_it(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NOTIFY_URL, url)
    with pytest.raises(ConfigurationError) as caught:
        open_notifiers(notify_urls())
    message = str(caught.value)
    assert message.startswith("environment: ORDER_PIPELINE_NOTIFY_URL")
    assert said in message
    assert "geheim" not in message
    assert "\n" not in message


def test_several_addresses_may_be_given_and_those_that_the_services_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        NOTIFY_URL,
        " https://oapi.dingtalk.com/robot/send?access_token=aB&secret=SECx, wecom://k\n"
        "https://open.feishu.cn/open-apis/bot/v2/hook/a-b mailto://u:p@example.com?to=a@example.com,b@example.com log://",
    )
    names = [notifier.name.partition("-")[0] for notifier in open_notifiers(notify_urls())]
    assert names == ["dingtalk", "wecom", "feishu", "mailto", "log"]
