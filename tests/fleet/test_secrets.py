"""Credentials are never shown."""

import pytest

from camixersr.errors import UsageError
from camixersr.fleet.places import place_of
from camixersr.fleet.secrets import LONGEST, one_line, without_secrets

ENVIRONMENT = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=abcdef",
    "AWS_REGION": "us-east-1",
    "X_TOKEN": "abc",
}


def test_values_of_secret_variables_and_signatures_go() -> None:
    text = (
        "PUT https://user:pass@host/bucket/key?X-Amz-Signature=f00&x=1 with wJalrXUtnFEMI, in us-east-1, "
        "sv=2024&sig=abcdef, abc"
    )
    shown = without_secrets(text, ENVIRONMENT)
    assert shown == "PUT https://host/bucket/key with ***, in us-east-1, ***, abc"


def test_an_error_is_one_line_of_a_bearable_length(monkeypatch) -> None:
    monkeypatch.setenv("A_SECRET", "hush-hush")
    line = one_line(ValueError("first\n\n  second hush-hush " + "x" * 1000))
    assert line.startswith("first second *** x")
    assert "\n" not in line
    assert len(line) == LONGEST + 3
    assert one_line(MemoryError()) == "out of memory"
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    "address", ["s3://key:hush@bucket/photos", "az://account/box?sig=hush", "s3://bucket/a#hush"]
)
def test_credentials_in_an_address_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="environment") as caught:
        place_of("SOURCE", address)
    assert "hush" not in str(caught.value)


def test_a_secret_that_begins_another_leaves_nothing_of_it() -> None:
    known = {"A_TOKEN": "hush-hush", "B_SECRET": "hush-hush-and-more", "AZURE_STORAGE_KEY": "c2VjcmV0"}
    assert without_secrets("hush-hush-and-more, hush-hush, c2VjcmV0", known) == "***, ***, ***"


def test_requests_and_answers_are_not_told() -> None:
    error = ValueError("it is not there\n\nDebug source:\nGet { headers: { authorization: x } }")
    assert one_line(error) == "it is not there"
