"""Options as a form: nothing is listed twice, and what is filled in is the record itself."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.enlarge.forms import GROUPS, described, options_from, schema
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError


def test_every_option_is_described_once() -> None:
    names = [each.name for each in described()]
    assert sorted(names) == sorted(each.name for each in fields(Options))
    assert [each.name for each in described() if each.group == "Options"] == list(GROUPS["Options"])
    for each in described():
        assert len(each.about) > 20, each
        assert "  " not in each.about
        assert each.kinds or each.choices, each
        assert each.default == getattr(Options(), each.name)


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(scale=1.5, attention_ratio=0.25, strip=True, quality=80, format="jpg"),
        Options(fit="3840x2160", tile=128, batch=2, memory="2GB", lossless=False, format="webp"),
        Options(width=100, height=20, seconds=2.0, name="{stem}-big", model="s-x4"),
    ],
)
def test_a_record_comes_back_from_json_and_from_text(options: Options) -> None:
    record = options.record()
    assert options_from(record) == options
    texts = {name: "" if value is None else str(value) for name, value in record.items()}
    assert options_from(texts) == options


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": "two"}, "scale must be a number, got 'two'"),
        ({"scale": True}, "scale must be a number"),
        ({"scale": float("nan")}, "scale must be a number"),
        ({"scale": 10**400}, "scale must be a number"),
        ({"width": 1.5}, "width must be a whole number"),
        ({"tile": "big"}, "tile must be a whole number or one of auto"),
        ({"strip": 1}, "strip must be true or false"),
        ({"name": ["x"]}, "name must be text"),
        ({"format": "gif"}, "format must be one of png"),
        ({"colour": "keep"}, "no option 'colour'"),
        ({"device": "cpu"}, "no option 'device'"),
        ({"attention_ratio": 2}, "must lie in [0, 1]"),
    ],
)
def test_what_does_not_fit_is_said(values: dict, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        options_from(values, leave_out=frozenset({"device"}))
    assert words in str(raised.value)


@given(
    st.dictionaries(
        st.sampled_from([each.name for each in fields(Options)]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(st.none()),
    )
)
def test_whatever_is_filled_in_it_is_a_record_or_a_line(values: dict) -> None:
    try:
        line = repr(options_from(values))
    except UsageError as error:
        line = str(error)
    assert "\n" not in line


def test_the_schema_has_words_and_kinds() -> None:
    properties = schema(leave_out=frozenset({"device"}))["properties"]
    assert "device" not in properties
    assert properties["tile"]["anyOf"] == [{"type": "integer"}, {"enum": ["auto"]}]
    assert properties["scale"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert properties["strip"]["type"] == "boolean"
