"""Lists of suppliers and bundles: good rows are read, everything else is named by row and column."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.insights.merchant_files import parse_bundles, parse_suppliers

HEADINGS = "sku_code,supplier,lead_time_days,moq,pack_size,on_order,on_order_due,unit_cost\n"


def test_a_list_of_suppliers_is_read_and_empty_cells_stay_unknown() -> None:
    parsed = parse_suppliers(
        "\ufeff" + HEADINGS + 'P-1,"义乌, 小商品",14,100,12.0,40,2026/04/01,3.5\nP-2,Ningbo,,,,,,\n'
    )
    assert parsed.problems == ()
    first, second = parsed.rows
    assert (first.sku_code, first.supplier, first.lead_time_days, first.moq, first.pack_size) == (
        "P-1", "义乌, 小商品", 14, 100, 12,
    )  # fmt: skip
    assert (first.on_order, first.on_order_due, first.unit_cost) == (40, date(2026, 4, 1), Decimal("3.5"))
    assert (second.lead_time_days, second.moq, second.pack_size, second.on_order) == (None, None, None, None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("P-1,Ningbo,two weeks,,,,,", "row 2, column lead_time_days: 'two weeks' is no whole number"),
        ("P-1,Ningbo,-3,,,,,", "row 2, column lead_time_days: '-3' is not between 0 and 730"),
        ("P-1,Ningbo,9,0,,,,", "row 2, column moq: '0' is not between 1"),
        ("P-1,Ningbo,9,,1.5,,,", "row 2, column pack_size: '1.5' is no whole number"),
        ("P-1,Ningbo,9,,,99999999999,,", "row 2, column on_order: '99999999999' is not between"),
        ("P-1,Ningbo,9,,,5,soon,", "row 2, column on_order_due: 'soon' is no date"),
        ("P-1,Ningbo,9,,,,,NaN", "row 2, column unit_cost: 'NaN' is not between"),
        ("P-1,,9,,,,,", "row 2, column supplier: is empty"),
        (",Ningbo,9,,,,,", "row 2, column sku_code, sku_id: name the SKU by one of the two"),
        ("P-1,Ningbo,9,,,,,,,", "row 2: it has 10 cells, the headings are 8"),
    ],
)
def test_a_mistake_is_named_by_row_and_column_and_the_rest_goes_on(row: str, said: str) -> None:
    parsed = parse_suppliers(f"{HEADINGS}{row}\nP-9,Ningbo,9,,,,,\n")
    assert [item.sku_code for item in parsed.rows] == ["P-9"]
    assert [str(problem).startswith(said) for problem in parsed.problems] == [True], parsed.problems


def test_a_sku_has_one_supplier_and_a_heading_is_spelled_right() -> None:
    parsed = parse_suppliers(f"{HEADINGS}P-1,A,1,,,,,\n\nP-1,B,2,,,,,\n")
    assert [str(problem) for problem in parsed.problems] == [
        "row 4, column sku_code: the same SKU is in row 2; keep the supplier that it is bought from"
    ]
    wrong = parse_suppliers("sku_code,suplier,moq,moq\nP-1,A,1,1\n")
    assert wrong.rows == ()
    assert {str(problem) for problem in wrong.problems} == {
        "row 1, column suplier: the column is not known; did you mean supplier?",
        "row 1, column supplier: the column is missing; add it",
        "row 1, column moq: the column is there twice; keep one",
    }


def test_a_bundle_with_a_wrong_row_is_left_out_whole() -> None:
    text = "bundle_code,component_code,quantity\nSET,CUP,2\nSET,LID,x\nBOX,CUP,1\nBOX,BOX,1\nDUO,CUP,2\n"
    parsed = parse_bundles(text)
    assert [tuple(part) for part in parsed.rows] == [("DUO", "CUP", 2)]
    assert [(problem.row, problem.column) for problem in parsed.problems] == [(3, "quantity"), (5, "component_code")]


@given(st.text(alphabet=st.sampled_from('sku_code,supplier\n"0x\r\x00'), max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    for parsed in (parse_suppliers(HEADINGS + text), parse_suppliers(text)):
        assert all(item.supplier and bool(item.sku_code) != bool(item.sku_id) for item in parsed.rows)
        assert all(problem.row >= 1 and problem.said for problem in parsed.problems)
