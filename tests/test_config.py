"""Config: what cannot stand is refused when it is made."""

import dataclasses
import math
from pathlib import Path

import pytest

from headgate import Config, ConfigError, OnConflict
from headgate.config import _MAY_BE_ZERO


def test_the_defaults_stand():
    assert Config().upload_size_limit == Config().max_file_size


def test_text_is_taken_for_paths_and_choices():
    config = Config(root="somewhere", on_conflict="rename")
    assert config.root == Path("somewhere")
    assert config.on_conflict is OnConflict.RENAME


NUMBERS = {f.name for f in dataclasses.fields(Config) if isinstance(f.default, int | float)}
OPTIONAL = {f.name for f in dataclasses.fields(Config) if f.default is None} - {"public_url"}


@pytest.mark.parametrize("name", sorted(NUMBERS))
@pytest.mark.parametrize("value", [-1, "many", None, True, math.nan])
def test_a_limit_must_be_a_number(name, value):
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_limit_of_zero_is_refused_where_it_would_mean_nothing_at_all(name):
    if name in _MAY_BE_ZERO:
        assert getattr(Config(**{name: 0}), name) == 0
    else:
        with pytest.raises(ConfigError, match=f"{name} must be a number above 0"):
            Config(**{name: 0})


@pytest.mark.parametrize("name", sorted(OPTIONAL))
@pytest.mark.parametrize("value", [0, -1, "many", True])
def test_a_limit_that_need_not_be_is_a_number_above_zero_or_none(name, value):
    assert getattr(Config(**{name: None}), name) is None
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


def test_an_unknown_choice_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="reject, rename, replace"):
        Config(on_conflict="merge")


def test_nothing_changes_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_files = 3
