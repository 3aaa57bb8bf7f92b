"""One step of a trace -> what it says of the parcel (Taobao contract §4.4, §6.3).

Belongs here: action codes and carriers' words. Not here: fetching traces (trace_methods.py), what follows from the
events (insights/traces.py).

The codes come first, since words quote anything; words decide where a code says little (OTHER, an unknown one), and
where it would say the wrong thing: what comes back is scanned, and signed for, under the same codes.
"""

from __future__ import annotations

import re
from typing import Any

from order_pipeline.platforms.protocol import TraceMeaning, TransitEvent
from order_pipeline.platforms.taobao.records import needed
from order_pipeline.platforms.taobao.values import UnreadableError, read_code, read_moment

# §6.3; the codes of carriers that were seen in other clients' tests (§4.4).
_CODES = {
    "CREATE": TraceMeaning.ANNOUNCED,
    "CONSIGN": TraceMeaning.ANNOUNCED,
    "GOT": TraceMeaning.IN_TRANSIT,
    "ARRIVAL": TraceMeaning.IN_TRANSIT,
    "ARRIVE": TraceMeaning.IN_TRANSIT,
    "DEPARTURE": TraceMeaning.IN_TRANSIT,
    "SENT_CITY": TraceMeaning.IN_TRANSIT,
    "TO_EMS": TraceMeaning.IN_TRANSIT,
    "TMS_ACCEPT": TraceMeaning.IN_TRANSIT,
    "TMS_COLLECT": TraceMeaning.IN_TRANSIT,
    "TMS_TRANSPORT": TraceMeaning.IN_TRANSIT,
    "SENT_SCAN": TraceMeaning.OUT_FOR_DELIVERY,
    "TMS_DELIVERING": TraceMeaning.OUT_FOR_DELIVERY,
    "SIGNED": TraceMeaning.SIGNED,
    "TMS_SIGN": TraceMeaning.SIGNED,
    "FAILED": TraceMeaning.FAILED,
    "LOST": TraceMeaning.LOST,
}

_DEPOSITED = re.compile(
    r"(存放|放入|投入|存入|暂存|放至|代收).{0,20}(驿站|柜|代收点|自提点|代办点|门卫|超市|便利店)|凭?取件码"
)
_COLLECTED = re.compile(r"已取件|取件签收|签收人")
_REFUSED = re.compile(r"拒收|拒签")
_INTERCEPTED = re.compile(r"拦截")
_RETURNING = re.compile(r"退回|退件|返回(发件|寄件)")
_SIGNED = re.compile(r"已签收|签收人|妥投")
_NOT_SIGNED = re.compile(r"未签收|误签收|待签收")
_LOST = re.compile(r"遗失|丢失|丢件")
_WRONG = re.compile(
    r"疑难|问题件|破损|错分|超区|地址不详|地址有误|电话(有误|错误)|无法联系|派送(失败|异常)|投递(失败|未成功)"
)
_OUT = re.compile(r"派送中|派件中|正在派|投递中|再次派送")
_ANNOUNCED = re.compile(r"等待揽收|待揽收|已通知快递|已下单|已出库|包裹正在等待")
# Codes under which a parcel moves, whichever way; that something is wrong is said under them, too.
_ON_THE_WAY = frozenset({TraceMeaning.IN_TRANSIT, TraceMeaning.OUT_FOR_DELIVERY, None})


def read_meaning(action: str | None, words: str) -> TraceMeaning:
    """Say what a step means, from its code and the carrier's words, either of which may be missing."""
    by_code = _CODES.get(action.upper()) if action else None
    if by_code is TraceMeaning.ANNOUNCED or by_code is TraceMeaning.LOST:
        return by_code
    is_signed = by_code is TraceMeaning.SIGNED or (
        by_code is None and bool(_SIGNED.search(words)) and not _NOT_SIGNED.search(words)
    )
    if is_signed:
        if _RETURNING.search(words) or _REFUSED.search(words):
            return TraceMeaning.RETURNED
        is_deposit = _DEPOSITED.search(words) and not _COLLECTED.search(words)
        return TraceMeaning.PICKUP_POINT if is_deposit else TraceMeaning.SIGNED
    if _REFUSED.search(words):
        return TraceMeaning.REFUSED
    if _INTERCEPTED.search(words):
        return TraceMeaning.INTERCEPTED
    if _RETURNING.search(words):
        return TraceMeaning.RETURNING
    if by_code is TraceMeaning.FAILED:
        return by_code
    if _LOST.search(words):
        return TraceMeaning.LOST
    if _DEPOSITED.search(words):
        return TraceMeaning.PICKUP_POINT
    if by_code in _ON_THE_WAY and _WRONG.search(words):
        return TraceMeaning.FAILED
    if by_code is None and _OUT.search(words):
        return TraceMeaning.OUT_FOR_DELIVERY
    if by_code is None and _ANNOUNCED.search(words):
        return TraceMeaning.ANNOUNCED
    return by_code or TraceMeaning.IN_TRANSIT


def read_step(step: Any) -> TransitEvent:
    """Read one step. Raises UnreadableError for what has no time, or is no step."""
    if not isinstance(step, dict):
        raise UnreadableError(f"a {type(step).__name__} instead of a step")
    action = read_code(step.get("action"))
    words = step.get("status_desc")
    return TransitEvent(
        at=needed(read_moment(step.get("status_time"))),
        action=action,
        meaning=read_meaning(action, words if isinstance(words, str) else ""),
    )
