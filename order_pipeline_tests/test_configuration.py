"""Configuration that is missing or wrong: one line that names the file, the key and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from order_pipeline import configuration
from order_pipeline.configuration import ConfigurationError, read_shops, select_shops, with_driver

GOOD = """
shops:
  - id: a
    platform: taobao
    gateway_url: https://eco.taobao.com/router/rest
    app_key: 12345678
    app_secret: ${SECRET}
    session_key: 6100x
    calls_per_minute: 600
"""


def read(tmp_path: Path, content: str, **environment: str) -> tuple[configuration.Shop, ...]:
    path = tmp_path / "shops.yaml"
    path.write_text(content)
    return read_shops(path, {"SECRET": "geheim"} | environment)


def test_a_shop_is_read_with_its_secrets_from_the_environment(tmp_path: Path) -> None:
    (shop,) = read(tmp_path, GOOD)
    assert (shop.id, shop.app_key, shop.app_secret, shop.calls_per_minute) == ("a", "12345678", "geheim", 600)


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ("dry_run", "dry_run"), ("'on'", "on")])
def test_write_stock_is_read_though_yaml_takes_its_words_for_true_and_false(
    tmp_path: Path, written: str, meant: str
) -> None:
    (shop,) = read(tmp_path, GOOD + f"    write_stock: {written}\n")
    assert shop.write_stock == meant
    assert read(tmp_path, GOOD)[0].write_stock == "off"


def test_how_a_shop_buys_is_read_and_has_usual_values(tmp_path: Path) -> None:
    (plain,) = read(tmp_path, GOOD)
    assert (plain.service_level, plain.review_days, plain.max_cover_days) == (0.9, 7, 90)
    assert (plain.presale_conversion, plain.flags_without_demand) == (1.0, frozenset())
    written = "service_level: 0.95\n    review_days: 3.5\n    max_cover_days: 60\n    presale_conversion: 0.7\n"
    (shop,) = read(tmp_path, f"{GOOD}    {written}    ignored_flags: 4, 5\n")
    assert (shop.service_level, shop.review_days, shop.max_cover_days) == (0.95, 3.5, 60)
    assert (shop.presale_conversion, shop.flags_without_demand) == (0.7, frozenset({4, 5}))
    assert read(tmp_path, f"{GOOD}    ignored_flags: 4\n")[0].flags_without_demand == {4}


def test_a_shop_never_shows_its_secrets(tmp_path: Path) -> None:
    (shop,) = read(tmp_path, GOOD)
    assert "geheim" not in repr(shop)
    assert "6100x" not in repr(shop)


def test_the_example_file_is_a_good_one() -> None:
    names = ("TAOBAO_APP_KEY", "TAOBAO_APP_SECRET", "TAOBAO_SESSION_KEY")
    path = Path(__file__).parent.parent / "shops.example.yaml"
    assert read_shops(path, dict.fromkeys(names, "x"))[0].id == "my-shop"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("app_key:", "app_kee:"), "unknown key 'app_kee'; did you mean 'app_key'"),
        (("${SECRET}", "${NOTHING}"), "key 'app_secret' wants the environment variable NOTHING"),
        (("platform: taobao", "platform: taoboa"), "platform 'taoboa' is not known; use taobao"),
        (("https://eco.taobao.com/router/rest", "eco.taobao.com"), "key 'gateway_url' is no http address"),
        (("calls_per_minute: 600", "calls_per_minute: lots"), "calls_per_minute"),
        (("calls_per_minute: 600", "calls_per_minute: 1"), "calls_per_minute must be 10 or more"),
        (("calls_per_minute: 600", "write_stock: maybe"), "write_stock must be off, dry_run, on; leave it out for off"),
        (("calls_per_minute: 600", "overlap_minutes: 0"), "overlap_minutes must be 1 to 1440"),
        *(
            ((("calls_per_minute: 600", f"{key}: {value}")), said)
            for key, values, said in [
                ("service_level", ("0", "1", "95", "-0.5", ".nan"), "service_level must lie between 0 and 1"),
                ("service_level", ("high", "[0.9]"), "service_level"),
                ("review_days", ("0", "-7", ".nan", ".inf"), "review_days and max_cover_days above 0"),
                ("review_days", ("weekly",), "review_days"),
                ("max_cover_days", ("0", "-1", ".nan", ".inf"), "review_days and max_cover_days above 0"),
                ("ignored_flags", ("red", "'4;5'", "'4,'", "-1"), "ignored_flags must be numbers with commas"),
                ("presale_conversion", ("-0.1", "1.1", "70", ".nan"), "presale_conversion must be 0 to 1"),
                ("presale_conversion", ("most",), "presale_conversion"),
            ]
            for value in values
        ),
        (("shops:", "shop:"), "key 'shops' must be a list of shops; is that what 'shop' means?"),
        (
            ("app_key: 12345678", "app_key: 12345678\n    app_key: 87654321"),
            "key 'app_key' stands twice, again in line 7",
        ),
        (("shops:", "shops: []\nshops:"), "key 'shops' stands twice, again in line 3"),
        (("  - id: a", "  - id: [a"), "is not YAML in line"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_remedy(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, GOOD.replace(*change))
    message = str(caught.value)
    assert "shops.yaml" in message
    assert said in message
    assert "\n" not in message
    assert "geheim" not in message


def test_a_shop_that_appears_twice_is_refused(tmp_path: Path) -> None:
    twice = GOOD + GOOD.split("shops:")[1]
    with pytest.raises(ConfigurationError, match="shop id 'a' appears twice"):
        read(tmp_path, twice)


def test_shops_of_one_app_name_one_budget(tmp_path: Path) -> None:
    other = GOOD.split("shops:")[1].replace("id: a", "id: b").replace("6100x", "6100y")
    assert len(read(tmp_path, GOOD + other)) == 2
    unlimited = other.replace("    calls_per_minute: 600\n", "")
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, GOOD + unlimited)
    message = str(caught.value)
    assert "600 for shop 'a' and none for shop 'b'; the platform grants it to the app" in message
    assert "\n" not in message
    # Apps of their own have budgets of their own.
    assert len(read(tmp_path, GOOD + unlimited.replace("12345678", "87654321"))) == 2


def test_one_session_under_two_ids_is_refused(tmp_path: Path) -> None:
    twice = GOOD + GOOD.split("shops:")[1].replace("id: a", "id: b")
    with pytest.raises(ConfigurationError, match="shops 'a' and 'b' have the same session_key") as caught:
        read(tmp_path, twice)
    assert "6100x" not in str(caught.value)


def test_an_unknown_shop_is_told_the_nearest_one(tmp_path: Path) -> None:
    shops = read(tmp_path, GOOD.replace("id: a", "id: main-shop"))
    with pytest.raises(ConfigurationError, match="no shop 'main-shp'; did you mean 'main-shop'"):
        select_shops(shops, ("main-shp",))


@pytest.mark.parametrize("url", ["postgres://a/b", "postgresql://a/b", "postgresql+psycopg2://a/b"])
def test_the_driver_is_spelled_in_every_address(url: str) -> None:
    assert with_driver(url) == "postgresql+psycopg2://a/b"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:geheim@host/db", "it does not begin with postgresql://"),
        ("postgresql://user:geheim@host:port/db", "host or port cannot be read"),
        ("postgresql://user:geheim@[::1/db", "host or port cannot be read"),
        ("postgresql://user:ge@heim@host/db", "in a password write it as %40"),
        ("postgresql://user:geheim@host:99999/db", "port 99999 is not between"),
        ("postgresql://user:geheim@host:5432", "it names no database"),
        ("postgresql://user:geheim@host/db?sslmoed=require", "knows no option 'sslmoed'"),
    ],
)
@pytest.mark.parametrize(
    ("variable", "read_url"),
    [("ORDER_PIPELINE_DATABASE_URL", configuration.database_url), ("DAGSTER_POSTGRES_URL", configuration.dagster_url)],
)
def test_an_address_that_cannot_be_one_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, url: str, said: str, variable: str, read_url: Callable[[], str | None]
) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(ConfigurationError) as caught:
        read_url()
    message = str(caught.value)
    assert f"{variable} is no PostgreSQL address: " in message
    assert said in message
    assert "\n" not in message
    assert "heim" not in message


def test_good_addresses_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (
        "postgresql://user:ge%40heim@host:5432/db?sslmode=require",
        "postgresql://postgres@/db?host=/run/postgresql",
        "postgresql://host/db",
    ):
        monkeypatch.setenv("ORDER_PIPELINE_DATABASE_URL", url)
        assert configuration.database_url() == with_driver(url)
