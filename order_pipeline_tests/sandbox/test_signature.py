from __future__ import annotations

import pytest

from order_pipeline.sandbox.signature import is_signed, signature

PUBLISHED_A = {
    "method": "taobao.item.seller.get",
    "app_key": "12345678",
    "session": "test",
    "timestamp": "2016-01-01 12:00:00",
    "format": "json",
    "v": "2.0",
    "sign_method": "md5",
    "fields": "num_iid,title,nick,price,num",
    "num_iid": "11223344",
}
PUBLISHED_B = {
    "method": "taobao.user.seller.get",
    "timestamp": "2013-05-06 13:52:03",
    "format": "xml",
    "app_key": "test",
    "v": "2.0",
    "fields": "nick",
    "sign_method": "md5",
    "session": "test",
}
RFC = {"Hi": " There"}
BATCH = {
    "app_key": "12345678",
    "v": "2.0",
    "timestamp": "2016-01-01 12:00:00",
    "format": "json",
    "sign_method": "md5",
}
BATCH_BODY = "#PUBLIC#method=taobao.time.get\r\n-S-\r\nN\r\n-S-\r\nN"


@pytest.mark.parametrize(
    ("parameters", "secret", "method", "body", "expected"),
    [
        (PUBLISHED_A, "helloworld", "md5", "", "66987CB115214E59E6EC978214934FB8"),
        (PUBLISHED_B, "test", "md5", "", "72CB4D809B375A54502C09360D879C64"),
        ({"a": "1", "b": "2", "c": "✔️"}, "helloworld", "md5", "", "C7EB1CA8302EA85833654E511BE0562D"),
        ({"b": "2", "a": "1"}, "secret", "md5", "", "EF16F26C937CF52AE6F85DF2FD08B24A"),
        (RFC, "\x0b" * 16, "hmac", "", "9294727A3638BB1C13F48EF8158BFC9D"),
        (RFC, "\x0b" * 20, "hmac-sha256", "", "B0344C61D8DB38535CA8AFCEAF0BF12B881DC200C9833DA726E9376C2E32CFF7"),
        (PUBLISHED_A | {"sign_method": "hmac"}, "helloworld", "hmac", "", "D56D7858309C31B6251083A874D48273"),
        (
            PUBLISHED_A | {"sign_method": "hmac-sha256"},
            "helloworld",
            "hmac-sha256",
            "",
            "04DB15AD0774D5CFCE2C837DE43E3FCEA9011ED74F3038FB6AB5F3C4CEA119E8",
        ),
        (BATCH, "helloworld", "md5", BATCH_BODY, "5204053EB71B49FE47CA6618D12DB777"),
    ],
)
def test_the_published_vectors_come_out(
    parameters: dict[str, str], secret: str, method: str, body: str, expected: str
) -> None:
    assert signature(parameters, secret, method, body) == expected


def test_the_sign_itself_is_not_signed() -> None:
    signed = PUBLISHED_A | {"sign": "66987CB115214E59E6EC978214934FB8"}
    assert is_signed(signed, "helloworld")
    assert not is_signed(signed | {"num_iid": "11223345"}, "helloworld")


def test_an_unknown_sign_method_is_never_right() -> None:
    assert not is_signed(PUBLISHED_A | {"sign_method": "sha1", "sign": "x"}, "helloworld")
