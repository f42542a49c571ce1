"""Config: what cannot stand is refused when it is made."""

import dataclasses
from pathlib import Path

import pytest

from headgate import Config, ConfigError, OnConflict
from headgate.config import _POSITIVE


def test_the_defaults_stand():
    assert Config().upload_size_limit == Config().max_file_size


def test_text_is_taken_for_paths_and_choices():
    config = Config(root="somewhere", on_conflict="rename")
    assert config.root == Path("somewhere")
    assert config.on_conflict is OnConflict.RENAME


@pytest.mark.parametrize("name", _POSITIVE)
@pytest.mark.parametrize("value", [0, -1, "many", None, True])
def test_a_limit_must_be_a_number_above_zero(name, value):
    with pytest.raises(ConfigError, match=name):
        Config(**{name: value})


def test_every_number_is_validated():
    """No limit is forgotten in the list of those that are checked."""
    numbers = {f.name for f in dataclasses.fields(Config) if isinstance(f.default, int | float)}
    assert numbers == set(_POSITIVE)


def test_an_unknown_choice_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match="reject, rename, replace"):
        Config(on_conflict="merge")


def test_nothing_changes_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_files = 3
