import pytest

from stitchwork.analysis import comparison_table, interval


def test_a_row_for_each_candidate_in_order():
    table = comparison_table("row", {"SE": (1.0, 2.0, 3.0), "ECA": [5, 5]}, {"ECA": 3, "SE": 8})
    assert table.columns.tolist() == ["task", "block", "parameters", "mean", "low", "high", "seeds"]
    se, eca = table.to_dict("records")
    assert (se["task"], se["block"], se["parameters"], se["seeds"]) == ("row", "SE", 8, 3)
    assert (se["mean"], se["low"], se["high"]) == interval([1, 2, 3])
    assert (eca["block"], eca["mean"], eca["low"], eca["high"], eca["seeds"]) == ("ECA", 5, 5, 5, 2)


def test_a_candidate_whose_size_is_not_told_is_refused():
    with pytest.raises(ValueError, match=r"no number of parameters for 'SE'.*ECA"):
        comparison_table("row", {"SE": [1, 2]}, {"ECA": 3})
