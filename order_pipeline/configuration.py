"""Where the pipeline finds its databases and shops: the environment and shops.yaml, read and checked.

Belongs here: names of environment variables, the shape of shops.yaml and insights.yaml, and the one-line complaint when
either is wrong. Not here: opening anything that is configured.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import yaml

if TYPE_CHECKING:
    from yaml import SafeLoader
else:
    # Ten times as fast, where PyYAML was built with it: each tick reads the shops.
    SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

HOME = "ORDER_PIPELINE_HOME"
DATABASE_URL = "ORDER_PIPELINE_DATABASE_URL"
DAGSTER_URL = "DAGSTER_POSTGRES_URL"
SHOPS = "ORDER_PIPELINE_SHOPS"
NOTIFY_URL = "ORDER_PIPELINE_NOTIFY_URL"
DAYS_PER_RUN = "ORDER_PIPELINE_DAYS_PER_RUN"
INSIGHTS = "ORDER_PIPELINE_INSIGHTS"
HOOK = "ORDER_PIPELINE_HOOK"
SUPPLIERS = "ORDER_PIPELINE_SUPPLIERS"
BUNDLES = "ORDER_PIPELINE_BUNDLES"
TOKEN_KEY = "ORDER_PIPELINE_TOKEN_KEY"  # noqa: S105 - the name of a variable

# Set by whoever starts the processes that runs live under (launchers/ending.py, order-pipeline dev), not by people.
ENDING = "ORDER_PIPELINE_ENDING"
KEEP_PAGES = "ORDER_PIPELINE_KEEP_PAGES_DAYS"
KEEP_MESSAGES = "ORDER_PIPELINE_KEEP_MESSAGES_DAYS"
KEEP_CALLS = "ORDER_PIPELINE_KEEP_CALLS_DAYS"
KEEP_SETTLED = "ORDER_PIPELINE_KEEP_SETTLED_DAYS"
KEEP_EVENTS = "ORDER_PIPELINE_KEEP_EVENTS_DAYS"

DEFAULT_HOME = ".order_pipeline"
DEFAULT_SHOPS = "shops.yaml"
DEFAULT_INSIGHTS = "insights.yaml"

# A month of created-days a run: visible progress in the UI, and a failed run repeats little. Fewer where several
# workers shall share a backfill, as a run is what a worker takes.
DEFAULT_DAYS_PER_RUN = 31
MAX_DAYS_PER_RUN = 92

# The platform's own floor is far above it; a slower pace could not even keep up with one poll a minute.
MIN_CALLS_PER_MINUTE = 10


# How far before the watermark a poll begins, since a row may reach the lists after its modified moment.
DEFAULT_OVERLAP_MINUTES = 5
MAX_OVERLAP_MINUTES = 24 * 60

# Keys of a shop that are numbers or true and false; YAML's other numbers are ids and become text.
NOT_TEXT = (
    "calls_per_minute",
    "overlap_minutes",
    "trace_messages",
    "keep_personal_data",
    "service_level",
    "review_days",
    "max_cover_days",
    "presale_conversion",
)


class WriteStock(StrEnum):
    """Whether a shop's stock is written to the platform: not at all, only worked out, or really."""

    OFF = "off"
    DRY_RUN = "dry_run"
    ON = "on"


# For how many days each is kept, and the least that may be said. Pages: the platform lists three months back, so no
# older day can be proven, and every proof reads the pages of its day. Messages: parcels are followed by them for 60
# days. The rest: what status, monitoring and a person who comes back after a week look at.
RETENTION_DAYS = {KEEP_PAGES: 400, KEEP_MESSAGES: 90, KEEP_CALLS: 60, KEEP_SETTLED: 180, KEEP_EVENTS: 30}
LEAST_RETENTION_DAYS = {KEEP_PAGES: 100, KEEP_MESSAGES: 62, KEEP_CALLS: 8, KEEP_SETTLED: 30, KEEP_EVENTS: 1}


class ConfigurationError(Exception):
    """Something is missing or wrong in the configuration; the message names file, key and remedy in one line."""


class _TwiceError(Exception):
    """A key stands twice in one mapping."""


class _OnceLoader(SafeLoader):
    """YAML in which a key that stands twice is a mistake: PyYAML alone silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _value in node.value:
            if key_node.value in seen:
                raise _TwiceError(f"key '{key_node.value}' stands twice, again in line {key_node.start_mark.line + 1}")
            if isinstance(key_node, yaml.ScalarNode):
                seen.add(key_node.value)
        return super().construct_mapping(node, deep)


class Shop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One shop of one merchant.

    ``session_key``: where no token is stored (order-pipeline authorize). ``calls_per_minute`` is what the platform
    grants this app key; None: no limit. ``overlap_minutes``: how far before the watermark a poll begins; 30 around big
    sales. ``trace_messages``: also have messages about parcels, which makes the permit name its topics.
    ``oauth_url``: where the shop's owner authorises; None: the platform's own. ``write_stock``: whether what pre-sales
    hold is taken off the stock that buyers see. ``keep_personal_data``: whether addressees are asked for and kept, in
    schema ``personal``. ``service_level``: probability that stock shall last until the next delivery; ``review_days``:
    between two purchases; ``max_cover_days``: warn of a purchase that lasts longer; ``ignored_flags``: seller flags of
    orders that are no demand, e.g. "4,5"; ``presale_conversion``: the share of deposits whose final payment comes, by
    which purchases count what pre-sales hold.
    """

    id: str
    platform: str
    gateway_url: str
    app_key: str
    app_secret: str
    session_key: str = ""
    calls_per_minute: int | None = None
    overlap_minutes: int = DEFAULT_OVERLAP_MINUTES
    message_group: str | None = None
    oauth_url: str | None = None
    trace_messages: bool = False
    write_stock: WriteStock = WriteStock.OFF
    keep_personal_data: bool = False
    service_level: float = 0.9
    review_days: float = 7
    max_cover_days: float = 90
    ignored_flags: str = ""
    presale_conversion: float = 1.0

    @property
    def flags_without_demand(self) -> frozenset[int]:
        """The seller flags of orders that are no demand."""
        return frozenset(int(flag) for flag in self.ignored_flags.replace(" ", "").split(",") if flag)

    @property
    def overlap(self) -> timedelta:
        """How far before the watermark a poll begins."""
        return timedelta(minutes=self.overlap_minutes)

    def __repr__(self) -> str:
        """Leave the secrets out, as this ends up in logs and tracebacks."""
        return f"Shop(id={self.id!r}, platform={self.platform!r}, gateway_url={self.gateway_url!r})"


PLATFORMS = ("taobao",)
REQUIRED = ("id", "platform", "gateway_url", "app_key", "app_secret")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def days_per_run() -> int:
    """Return how many days a run of a backfill takes at most. Raises ConfigurationError for no such number."""
    written = os.environ.get(DAYS_PER_RUN) or str(DEFAULT_DAYS_PER_RUN)
    if not written.isdecimal() or not 1 <= int(written) <= MAX_DAYS_PER_RUN:
        raise ConfigurationError(
            f"environment: {DAYS_PER_RUN} must be 1 to {MAX_DAYS_PER_RUN}; leave it out for {DEFAULT_DAYS_PER_RUN}"
        )
    return int(written)


def is_ending() -> bool:
    """Return whether the process that runs live under was told to end: the file that says so is there."""
    path = os.environ.get(ENDING)
    return path is not None and Path(path).exists()


def home() -> Path:
    """Return the folder of everything that we keep on disk ourselves (embedded server, sandbox state), absolute."""
    return Path(os.environ.get(HOME) or DEFAULT_HOME).resolve()


def database_url() -> str | None:
    """Return the warehouse's address with its driver spelled, or None for the embedded server.

    Raises ConfigurationError when the address is not one of a PostgreSQL database.
    """
    return _postgres_url(DATABASE_URL)


def dagster_url() -> str | None:
    """Return the address of Dagster's own storage, or None for the embedded server."""
    return _postgres_url(DAGSTER_URL)


def with_driver(url: str) -> str:
    """Spell the psycopg2 driver in a postgresql:// address, as SQLAlchemy's default driver changed with 2.1."""
    return re.sub(r"^postgres(ql)?(\+psycopg2)?://", "postgresql+psycopg2://", url)


def shops_path() -> Path:
    """Return the path of shops.yaml, which need not exist."""
    return Path(os.environ.get(SHOPS) or DEFAULT_SHOPS)


def shops_are_named() -> bool:
    """Return whether the environment names a shops file, which then has to be there."""
    return bool(os.environ.get(SHOPS))


def read_shops(path: Path, environment: Mapping[str, str] | None = None) -> tuple[Shop, ...]:
    """Read shops.yaml: a list of shops under the key ``shops``; ``${NAME}`` reads the environment.

    Raises ConfigurationError naming the file, the shop, the key and the remedy.
    """
    environment = os.environ if environment is None else environment
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceLoader)  # noqa: S506 - a SafeLoader
    except _TwiceError as error:
        raise ConfigurationError(f"{path}: {error}; keep one") from error
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); check the path in {SHOPS}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place else ""
        raise ConfigurationError(f"{path}: is not YAML{line}; compare it with shops.example.yaml") from error
    entries = document.get("shops") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        written = [str(key) for key in document] if isinstance(document, dict) else []
        near = get_close_matches("shops", written, n=1)
        hint = f"is that what '{near[0]}' means? compare it" if near and near[0] != "shops" else "compare it"
        raise ConfigurationError(f"{path}: key 'shops' must be a list of shops; {hint} with shops.example.yaml")
    shops = tuple(_shop(path, number, entry, environment) for number, entry in enumerate(entries, 1))
    seen: set[str] = set()
    sessions: dict[str, str] = {}
    for shop in shops:
        if shop.id in seen:
            raise ConfigurationError(f"{path}: shop id '{shop.id}' appears twice; give each shop an id of its own")
        seen.add(shop.id)
        if shop.session_key and sessions.setdefault(shop.session_key, shop.id) != shop.id:
            raise ConfigurationError(
                f"{path}: shops '{sessions[shop.session_key]}' and '{shop.id}' have the same session_key, so they are "
                f"one shop; remove one, or give it the session of its own seller"
            )
    _require_one_budget(path, shops)
    return shops


def _require_one_budget(path: Path, shops: tuple[Shop, ...]) -> None:
    """Shops of one app share its budget: processes that reckon with different ones would break the smaller."""
    first: dict[str, Shop] = {}
    for shop in shops:
        other = first.setdefault(shop.app_key, shop)
        if other.calls_per_minute != shop.calls_per_minute:
            said = (f"{each.calls_per_minute or 'none'} for shop '{each.id}'" for each in (other, shop))
            raise ConfigurationError(
                f"{path}: calls_per_minute of app_key {shop.app_key} is {' and '.join(said)}; the platform grants it "
                f"to the app: write the same number for all shops of one app_key"
            )


def select_shops(shops: tuple[Shop, ...], ids: tuple[str, ...], *, named_by: str = "--shop") -> tuple[Shop, ...]:
    """Return the named shops, all of them when none is named. Raises ConfigurationError for an unknown id."""
    known = {shop.id: shop for shop in shops}
    for wanted in ids:
        if wanted not in known:
            near = get_close_matches(wanted, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known)}"
            raise ConfigurationError(f"{named_by}: no shop '{wanted}'; {hint}")
    return tuple(known[wanted] for wanted in ids) or shops


def _shop(path: Path, number: int, entry: Any, environment: Mapping[str, str]) -> Shop:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{path}: shop {number} must be a mapping of keys; see shops.example.yaml")
    name = f"shop '{entry['id']}'" if entry.get("id") else f"shop {number}"
    fields = Shop.__struct_fields__
    for key in entry:
        if key not in fields:
            near = get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(fields)}"
            raise ConfigurationError(f"{path}: {name}: unknown key '{key}'; {hint}")
    filled = {key: _fill(path, name, key, value, environment) for key, value in entry.items()}
    # YAML reads a bare on and off as true and false.
    if isinstance(filled.get("write_stock"), bool):
        filled["write_stock"] = WriteStock.ON if filled["write_stock"] else WriteStock.OFF
    if filled.get("write_stock") not in (None, *WriteStock):
        raise ConfigurationError(
            f"{path}: {name}: write_stock must be {', '.join(WriteStock)}; leave it out for {WriteStock.OFF}"
        )
    for key in REQUIRED:
        if filled.get(key) in (None, ""):
            raise ConfigurationError(f"{path}: {name}: key '{key}' is missing; add it (see shops.example.yaml)")
    try:
        # Not strict: YAML reads an app key of digits as a number.
        shop = msgspec.convert(
            {key: value if key in NOT_TEXT else str(value) for key, value in filled.items() if value is not None},
            Shop,
            strict=False,
        )
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {name}: {error}") from error
    if shop.platform not in PLATFORMS:
        raise ConfigurationError(
            f"{path}: {name}: platform '{shop.platform}' is not known; use {' or '.join(PLATFORMS)}"
        )
    if urlsplit(shop.gateway_url).scheme not in ("http", "https") or not urlsplit(shop.gateway_url).hostname:
        raise ConfigurationError(
            f"{path}: {name}: key 'gateway_url' is no http address; Taobao's is https://eco.taobao.com/router/rest"
        )
    if shop.oauth_url is not None and not is_private(shop.oauth_url):
        raise ConfigurationError(
            f"{path}: {name}: key 'oauth_url' is no https address; Taobao's is https://oauth.taobao.com, and it may "
            f"be left out"
        )
    if shop.calls_per_minute is not None and shop.calls_per_minute < MIN_CALLS_PER_MINUTE:
        raise ConfigurationError(
            f"{path}: {name}: calls_per_minute must be {MIN_CALLS_PER_MINUTE} or more; leave it out for no limit"
        )
    if not 1 <= shop.overlap_minutes <= MAX_OVERLAP_MINUTES:
        raise ConfigurationError(
            f"{path}: {name}: overlap_minutes must be 1 to {MAX_OVERLAP_MINUTES}; leave it out for "
            f"{DEFAULT_OVERLAP_MINUTES}, write 30 around big sales"
        )
    if not 0 < shop.service_level < 1 or not 0 < shop.review_days < inf or not 0 < shop.max_cover_days < inf:
        raise ConfigurationError(
            f"{path}: {name}: service_level must lie between 0 and 1 (0.9 if left out), review_days and max_cover_days "
            f"above 0 (7 and 90 if left out)"
        )
    if not 0 <= shop.presale_conversion <= 1:
        raise ConfigurationError(
            f"{path}: {name}: presale_conversion must be 0 to 1, the share of deposits whose final payment comes; "
            f"leave it out for 1"
        )
    if not re.fullmatch(r"(\s*\d+\s*(,\s*\d+\s*)*)?", shop.ignored_flags):
        raise ConfigurationError(f"{path}: {name}: ignored_flags must be numbers with commas, e.g. '4,5'")
    return shop


def insights_section(name: str) -> Mapping[str, Any]:
    """Return what insights.yaml says under a key, nothing where it says nothing or is not there.

    Raises ConfigurationError when the file is named and missing, or is no YAML of sections.
    """
    path = insights_path()
    if not path.exists() and not os.environ.get(INSIGHTS):
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); check the path in {INSIGHTS}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not YAML; compare it with insights.example.yaml") from error
    section = (document or {}).get(name) if isinstance(document or {}, dict) else None
    if not isinstance(document or {}, dict) or not isinstance(section or {}, dict):
        raise ConfigurationError(f"{path}: key '{name}' must be a mapping of keys; see insights.example.yaml")
    return section or {}


def insights_path() -> Path:
    """Return the path of insights.yaml, which need not exist."""
    return Path(os.environ.get(INSIGHTS) or DEFAULT_INSIGHTS)


def is_private(url: str) -> bool:
    """Return whether what is sent to an address is read by nobody on the way: https, or this machine itself."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def token_keys() -> tuple[str, ...]:
    """Return the keys that stored tokens are encrypted with, the newest first, none where none is set."""
    return tuple(key.strip() for key in os.environ.get(TOKEN_KEY, "").split(",") if key.strip())


def notify_urls() -> tuple[str, ...]:
    """Return the addresses that notices are sent to, none where none is set; separated by blanks or commas.

    Raises ConfigurationError for something that is no address, without repeating it.
    """
    # A comma inside an address (several receivers of a mail) separates nothing.
    urls = [
        url for url in re.split(r"[\s,]+(?=[A-Za-z][\w+.-]*://)", os.environ.get(NOTIFY_URL, "").strip(" \t\n,")) if url
    ]
    if not all(re.match(r"[A-Za-z][\w+.-]*://\S*$", url) for url in urls):
        raise ConfigurationError(
            f"environment: {NOTIFY_URL} is no address; write it as dingtalk://SECRET@TOKEN, wecom://KEY, "
            f"feishu://SECRET@TOKEN or an address of apprise, several separated by blanks; unset it for the log"
        )
    return tuple(urls)


def hook() -> str | None:
    """Return the command or web address that the merchant's own systems are told through, None where none is set."""
    return os.environ.get(HOOK, "").strip() or None


def merchant_list(variable: str) -> Path | None:
    """Return the path of one of the merchant's lists, SUPPLIERS or BUNDLES, None where none is named."""
    path = os.environ.get(variable)
    return Path(path) if path else None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days the growing tables are kept: raw pages, messages, the log of calls, what is long settled."""

    pages: int
    messages: int
    calls: int
    settled: int


def retention() -> Retention:
    """Return for how long things are kept. Raises ConfigurationError for what is no number of days, or too few."""
    days = [_kept_days(variable) for variable in (KEEP_PAGES, KEEP_MESSAGES, KEEP_CALLS, KEEP_SETTLED)]
    return Retention(pages=days[0], messages=days[1], calls=days[2], settled=days[3])


def event_retention() -> int:
    """Return for how many days lines of Dagster's event log are kept. Raises ConfigurationError as ``retention``."""
    return _kept_days(KEEP_EVENTS)


def _kept_days(variable: str) -> int:
    said, least = os.environ.get(variable, "").strip(), LEAST_RETENTION_DAYS[variable]
    if not said:
        return RETENTION_DAYS[variable]
    if not re.match(r"\d{1,5}$", said) or int(said) < least:
        raise ConfigurationError(
            f"environment: {variable} must be a number of days, {least} or more; "
            f"unset it for {RETENTION_DAYS[variable]}"
        )
    return int(said)


def _fill(path: Path, name: str, key: str, value: Any, environment: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value

    def from_environment(match: re.Match[str]) -> str:
        variable = match.group(1)
        if not environment.get(variable):
            raise ConfigurationError(
                f"{path}: {name}: key '{key}' wants the environment variable {variable}, which is not set; "
                f"set it, for example in .env"
            )
        return environment[variable]

    return re.sub(r"\$\{(\w+)\}", from_environment, value)


def _postgres_url(variable: str) -> str | None:
    url = os.environ.get(variable)
    if not url:
        return None
    problem = _problem_of(url)
    if problem:
        # Never the address itself: it holds the password.
        raise ConfigurationError(
            f"environment: {variable} is no PostgreSQL address: {problem}; "
            f"write it as postgresql://user:password@host:5432/database, or unset it for the embedded server"
        )
    return with_driver(url)


def _problem_of(url: str) -> str | None:
    """Return what is wrong with a database's address, in words that hold nothing of it but its port or option."""
    # Here, as most of what reads this module opens no database.
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if not re.match(r"^postgres(ql)?(\+psycopg2)?://", url):
        return "it does not begin with postgresql://"
    try:
        parts = make_url(with_driver(url))
    except (ArgumentError, ValueError):
        return "host or port cannot be read"
    if "@" in (parts.host or ""):
        return "it holds a second @; in a password write it as %40"
    if parts.port is not None and not 1 <= parts.port <= 65535:
        return f"port {parts.port} is not between 1 and 65535"
    if not parts.database:
        return "it names no database"
    for option in parts.query:
        try:
            parse_dsn(f"postgresql://?{option}=1")
        except ProgrammingError:
            return f"the database knows no option '{option}'"
    return None
