"""Buyers and where they live, as the platform shows them to a seller: masked (contract 4.8).

Belongs here: invented people. Not here: real data of any kind; every name and number is made from the
household's number.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from order_pipeline.sandbox.chance import mix

# state, city, district, town, zip. The last one is a county administered by its province: no city.
_PLACES = (
    ("浙江省", "杭州市", "西湖区", "三墩镇", "310030"),
    ("上海", "上海市", "浦东新区", "张江镇", "201203"),
    ("广东省", "广州市", "番禺区", "大石街道", "511400"),
    ("陕西省", "西安市", "雁塔区", "小寨路街道", "710065"),
    ("河南省", "郑州市", "管城回族区", None, "450000"),
    ("四川省", "成都市", "武侯区", "桂溪街道", "610041"),
    ("北京", "北京市", "海淀区", "中关村街道", "100080"),
    ("江苏省", "南京市", "鼓楼区", None, "210009"),
    ("湖北省", "武汉市", "洪山区", "关山街道", "430074"),
    ("山东省", "济宁市", "嘉祥县", "大张楼镇", "272000"),
    ("福建省", "厦门市", "思明区", "筼筜街道", "361004"),
    ("海南省", None, "琼海市", "嘉积镇", "571400"),
)
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡林郭何高罗"
_INITIALS = "abcdefghjklmnpqrstwxyz"


class Person(msgspec.Struct, frozen=True, gc=False):
    """A buyer and addressee as a seller sees them."""

    nick: str
    open_uid: str
    name: str
    mobile: str
    phone: str | None
    address: str
    state: str
    city: str | None
    district: str
    town: str | None
    zip: str


@lru_cache(maxsize=8192)
def person(household: int, seller: int) -> Person:
    """Return the person behind a household number, as the seller with that user id sees them."""
    number = mix(household, 21)
    state, city, district, town, zip_code = _PLACES[number % len(_PLACES)]
    initial = _INITIALS[number // 64 % len(_INITIALS)]
    return Person(
        nick=f"{initial}**",
        open_uid=open_uid(household, str(seller)),
        name=_SURNAMES[number // 16 % len(_SURNAMES)] + "**",
        mobile=f"1{(35, 38, 57, 86, 99)[number % 5]}{number // 128 % 10_000:04d}****",
        phone=f"0{number % 900 + 100}-8{number // 256 % 1000:03d}****" if number % 10 == 0 else None,
        address=f"{(town or district)[0]}**路{number // 512 % 200 + 1}号**单元",
        state=state,
        city=city,
        district=district,
        town=town,
        zip=zip_code,
    )


def open_uid(person_number: int, audience: str) -> str:
    """Return a person's id as one seller or one app knows it."""
    return "AAE" + _digest(f"{person_number}:{audience}", 23)


def oaid(household: int, app_key: str, seller: int, created: int) -> str:
    """Return the addressee's token: another one for every shop, app and natural week (``created`` in seconds)."""
    # 1970-01-01 was a Thursday; weeks begin on Monday in Shanghai.
    week = (created + 8 * 3600 + 3 * 86_400) // (7 * 86_400)
    return _digest(f"{household}:{app_key}:{seller}:{week}", 40)


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
