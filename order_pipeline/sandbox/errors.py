"""The platform's errors, with the codes and texts of contract 5.

Belongs here: what an error is and how each one reads. Not here: when it is raised.
"""

from __future__ import annotations

from typing import Any


class PlatformError(Exception):
    """An answer under ``error_response``; always sent with HTTP 200 (contract 1.1)."""

    def __init__(self, code: int, msg: str, sub_code: str | None = None, sub_msg: str | None = None) -> None:
        super().__init__(f"{code} {msg} {sub_code or ''}".rstrip())
        self.code = code
        self.msg = msg
        self.sub_code = sub_code
        self.sub_msg = sub_msg

    def fields(self) -> dict[str, Any]:
        """Return the fields on the wire; those without a value are left out."""
        values = {"code": self.code, "msg": self.msg, "sub_code": self.sub_code, "sub_msg": self.sub_msg}
        return {name: value for name, value in values.items() if value is not None}


def app_call_limited(seconds: int, level: str = "app") -> PlatformError:
    """Code 7: the whole app (or, level "api", one method of it) called too often."""
    return PlatformError(
        7,
        "App Call Limited",
        f"accesscontrol.limited-by-{level}-access-count",
        f"This ban will last for {seconds} more seconds",
    )


def insufficient_permissions() -> PlatformError:
    """Code 11: the app has not applied for what it calls."""
    return PlatformError(
        11, "Insufficient ISV Permissions", "isv.permission-api-package-empty", "应用没有权限访问当前API"
    )


def missing_argument(name: str) -> PlatformError:
    """Code 40: a required business parameter is missing."""
    return PlatformError(40, f"Missing required arguments:{name}", "isv.missing-parameter", f"{name}参数缺失")


def invalid_argument(name: str) -> PlatformError:
    """Code 41: a business parameter has a value that its type or documented range does not allow.

    Contract 5.2: the sub_code of an over-long window or a page size above the maximum is not established;
    isv.invalid-parameter is the natural candidate and is what this sandbox sends.
    """
    return PlatformError(41, f"Invalid arguments:{name}", "isv.invalid-parameter", f"{name}参数不合法")


def trade_not_exist() -> PlatformError:
    """Code 15: no such order for this seller, or it is older than three months."""
    return PlatformError(15, "Remote service error", "isv.trade-not-exist", "交易订单不存在")


def write_timed_out() -> PlatformError:
    """Code 15: whether what was to be written has been written nobody knows (contract 5.2)."""
    return PlatformError(15, "Remote service error", "isp.remote-service-timeout", "后端服务超时，结果未知")


def invalid_session(sub_code: str) -> PlatformError:
    """Code 27; an expired session is named in the message too, as recorded."""
    if sub_code == "session-expired":
        return PlatformError(27, "Invalid session:session-expired", sub_code)
    return PlatformError(27, "Invalid session", sub_code, "SessionKey非法")
