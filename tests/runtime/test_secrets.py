from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestra_dagster.runtime.secrets import MASK, Masker, SecretNotFound, environment_secret


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_secret_is_base64_in_the_environment():
    assert environment_secret("api_key", {"SECRET_API_KEY": encoded("s3cret\n")}) == "s3cret\n"


def test_a_missing_secret_says_which_variable_to_set():
    with pytest.raises(SecretNotFound, match="SECRET_API_KEY"):
        environment_secret("API_KEY", {})


def test_a_secret_that_is_not_base64_is_not_echoed():
    with pytest.raises(SecretNotFound) as caught:
        environment_secret("API_KEY", {"SECRET_API_KEY": "plain secret!"})
    assert "plain secret" not in str(caught.value)


@given(st.text(min_size=1).filter(str.strip), st.text(), st.text())
def test_no_known_secret_is_left_in_a_text(secret, before, after):
    masked = Masker([secret]).text(before + secret + after)
    assert secret not in masked.replace(MASK, "")


def test_a_secret_inside_json_and_one_line_of_a_key_are_masked():
    key = '-----BEGIN KEY-----\nabcdefghijkl"x\n-----END KEY-----'
    masker = Masker([key])
    assert "abcdefghijkl" not in masker.text(json.dumps({"key": key}))
    assert "abcdefghijkl" not in masker.text('a line: abcdefghijkl"x')
    assert masker.value({"a": [key, 1]}) == {"a": [MASK, 1]}


def test_the_longer_of_two_secrets_is_masked_whole():
    assert Masker(["pass", "password1"]).text("password1") == MASK
