"""Every defect on the list shows in the defective module, and not in ours."""

import pytest

import stitchwork
from stitchwork.errata import Erratum, errata


@pytest.mark.parametrize("erratum", errata().values(), ids=errata())
def test_ours_is_sound_and_the_other_is_not(erratum: Erratum):
    assert erratum.block in stitchwork.list_blocks()
    assert erratum.found_in in ("popular copies", "the official code")
    ours, theirs = erratum.demonstrate()
    assert ours <= erratum.limit, f"ours has the defect: {erratum.meaning} is {ours:.1e}"
    assert theirs > 10 * erratum.limit, f"the defect does not show: {erratum.meaning} is {theirs:.1e}"


def test_keys_begin_with_the_module():
    for key, erratum in errata().items():
        assert key.startswith(erratum.block), key
