import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import UsageError
from camixersr.units import parse_bytes, shown_bytes


@given(st.integers(1, 10**14))
def test_what_is_shown_is_enough_and_hardly_more(count: int) -> None:
    granted = parse_bytes(shown_bytes(count), "--memory")
    assert count <= granted <= max(count * 1.11, count + 1_000_001)


@pytest.mark.parametrize("text", ["", "much", "0", "0GB", "-1GB", "2XB", "1e3"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="--memory must be a size"):
        parse_bytes(text, "--memory")
