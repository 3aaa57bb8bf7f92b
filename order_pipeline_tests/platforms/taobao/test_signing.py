"""The signature, against the vectors of Taobao contract §1.3."""

from __future__ import annotations

import pytest

from order_pipeline.platforms.taobao.signing import SignMethod, sign, without_empty
from order_pipeline_tests.platforms.taobao.samples import fixture

PUBLISHED = {
    "method": "taobao.item.seller.get",
    "app_key": "12345678",
    "session": "test",
    "timestamp": "2016-01-01 12:00:00",
    "format": "json",
    "v": "2.0",
    "fields": "num_iid,title,nick,price,num",
    "num_iid": "11223344",
}


@pytest.mark.parametrize(
    ("sign_method", "expected"),
    [
        ("md5", "66987CB115214E59E6EC978214934FB8"),
        ("hmac", "D56D7858309C31B6251083A874D48273"),
        ("hmac-sha256", "04DB15AD0774D5CFCE2C837DE43E3FCEA9011ED74F3038FB6AB5F3C4CEA119E8"),
    ],
)
def test_the_published_call_gets_the_published_signature(sign_method: SignMethod, expected: str) -> None:
    assert sign(PUBLISHED | {"sign_method": sign_method}, "helloworld", sign_method) == expected


def test_the_published_call_of_the_older_page_gets_its_signature() -> None:
    params = {
        "method": "taobao.user.seller.get",
        "timestamp": "2013-05-06 13:52:03",
        "format": "xml",
        "app_key": "test",
        "v": "2.0",
        "fields": "nick",
        "sign_method": "md5",
        "session": "test",
    }
    assert sign(params, "test", "md5") == "72CB4D809B375A54502C09360D879C64"


def test_text_is_signed_as_utf_8() -> None:
    params = {"c": "\u2714\ufe0f", "b": "2", "a": "1"}
    assert sign(params, "helloworld", "md5") == "C7EB1CA8302EA85833654E511BE0562D"


@pytest.mark.parametrize(
    ("sign_method", "key_bytes", "expected"),
    [
        ("hmac", 16, "9294727A3638BB1C13F48EF8158BFC9D"),
        ("hmac-sha256", 20, "B0344C61D8DB38535CA8AFCEAF0BF12B881DC200C9833DA726E9376C2E32CFF7"),
    ],
)
def test_the_digests_are_those_of_the_internet_standards(
    sign_method: SignMethod, key_bytes: int, expected: str
) -> None:
    assert sign({"Hi": " There"}, "\x0b" * key_bytes, sign_method) == expected


def test_a_body_is_signed_behind_the_parameters() -> None:
    params = {
        "app_key": "12345678",
        "v": "2.0",
        "timestamp": "2016-01-01 12:00:00",
        "format": "json",
        "sign_method": "md5",
    }
    body = "#PUBLIC#method=taobao.time.get\r\n-S-\r\nN\r\n-S-\r\nN"
    assert sign(params, "helloworld", "md5", body) == "5204053EB71B49FE47CA6618D12DB777"


def test_every_vector_of_the_contract_holds() -> None:
    for vector in fixture("sign-vectors.json"):
        signed = sign(vector["params"], vector["secret"], vector["sign_method"], vector["body"])
        assert signed == vector["sign"], vector["source"]


def test_an_empty_parameter_is_neither_sent_nor_signed() -> None:
    assert without_empty({"a": "1", "b": "", "": "2"}) == {"a": "1"}
    assert sign(PUBLISHED | {"buyer_nick": ""}, "s") == sign(PUBLISHED, "s")


def test_an_unknown_sign_method_is_named() -> None:
    with pytest.raises(ValueError, match="'sha1'; it has to be one of md5, hmac, hmac-sha256"):
        sign({}, "s", "sha1")  # type: ignore[arg-type]
