"""Fields that are new, gone or of another type, told from chance and from what has become usual."""

from __future__ import annotations

from order_pipeline.insights.drift import FEWEST_RECORDS, Drift, Fields, Kind, Shapes, drifts

FIELDS = {"order": Fields(frozenset({"tid", "status", "memo", "note"}), frozenset({"tid", "status", "memo"}))}


def shapes(records: int, **seen: dict[str, int]) -> Shapes:
    return Shapes(
        {"order": records}, {("order", field, kind): n for field, kinds in seen.items() for kind, n in kinds.items()}
    )


USUAL = shapes(200, tid={"number": 200}, status={"text": 200}, memo={"text": 40, "null": 160})


def test_what_is_as_it_was_is_nothing() -> None:
    assert drifts(FIELDS, USUAL, [USUAL] * 7) == []


def test_a_field_that_nobody_knows_is_told_from_the_first_record_on_and_needs_no_days_before() -> None:
    now = shapes(10, tid={"number": 10}, status={"text": 10}, brand_new={"object": 1})
    assert drifts(FIELDS, now, []) == [Drift("order", "brand_new", Kind.UNKNOWN, "", False, 1)]
    # Known and without a column: kept, and nothing new.
    assert drifts(FIELDS, shapes(10, note={"text": 10}), []) == []


def test_a_mapped_field_that_vanished_is_told_where_it_should_have_come() -> None:
    now = shapes(200, tid={"number": 200}, memo={"text": 40})
    assert drifts(FIELDS, now, [USUAL] * 3) == [Drift("order", "status", Kind.VANISHED, "", True, 200)]
    # Null is no value.
    assert drifts(FIELDS, shapes(200, tid={"number": 200}, status={"null": 200}, memo={"text": 9}), [USUAL])
    # One order in five has a memo: in ten orders none is chance.
    assert drifts(FIELDS, shapes(10, tid={"number": 10}, status={"text": 10}), [USUAL] * 3) == []


def test_a_mapped_field_of_another_type_is_told_once_it_is_more_than_an_odd_record() -> None:
    def flipped(records: int) -> list[Drift]:
        now = shapes(200, tid={"number": 200 - records, "text": records}, status={"text": 200}, memo={"text": 40})
        return drifts(FIELDS, now, [USUAL] * 7)

    assert flipped(FEWEST_RECORDS - 1) == []
    assert flipped(FEWEST_RECORDS) == [Drift("order", "tid", Kind.RETYPED, "text", True, FEWEST_RECORDS)]


def test_what_has_been_so_for_most_of_the_days_is_how_it_is_now() -> None:
    now = shapes(200, tid={"text": 200}, memo={"text": 40})
    assert len(drifts(FIELDS, now, [USUAL] * 4 + [now] * 3)) == 2
    assert drifts(FIELDS, now, [USUAL] * 3 + [now] * 4) == []
