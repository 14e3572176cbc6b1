"""Keyword arguments become the words of a command line."""

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import tyro

from dadnet.base import cli
from dadnet.base.errors import DadnetError
from dadnet.base.keywords import flag_types, signature, with_switches, words_of


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.5
    stages: tuple[int, ...] = (2, 3)
    stn: bool = True


@dataclass(frozen=True, kw_only=True)
class Outer:
    folder: Path | None = None
    stack: int | Literal["auto"] = 1
    fresh: bool = False
    inner: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)


def parsed(**given):
    words, switches = words_of(Outer, given)
    flags = cli.parse(Outer, words, prog="x", description="")
    return with_switches(flags, switches)


def test_nested_flags_are_flat():
    assert list(flag_types(Outer)) == ["folder", "stack", "fresh", "rate", "stages", "stn"]


def test_values_arrive_as_they_were_given():
    flags = parsed(folder=Path("a b"), stack="auto", rate=1e-05, stages=[0, 1])
    assert flags == Outer(folder=Path("a b"), stack="auto", inner=Inner(rate=1e-05, stages=(0, 1)))
    assert parsed(stages=()).inner.stages == ()
    assert parsed(rate=np.float32(0.25), stack=np.int64(3)) == Outer(
        stack=3, inner=Inner(rate=0.25)
    )
    assert parsed(rate=-1.0).inner.rate == -1.0
    assert parsed(folder="--help").folder == Path("--help")


def test_none_is_a_flag_that_is_not_given():
    assert parsed(folder=None, rate=None) == Outer()


def test_switches_go_both_ways():
    flags = parsed(fresh=True, stn=False)
    assert flags.fresh
    assert not flags.inner.stn
    assert parsed(fresh=False, stn=True) == Outer()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"stage": (1,)}, "stage: .*nearest: stages"),
        ({"Fresh": True}, "Fresh: .*nearest: fresh"),
        ({"fresh": 1}, "fresh: expected True or False, got 1"),
        ({"rate": True}, "rate: expected text or a number, got True"),
        ({"folder": b"x"}, "folder: expected text or a number"),
    ],
)
def test_what_is_no_flag_or_no_value_is_refused(given, message):
    with pytest.raises(DadnetError, match=message):
        words_of(Outer, given)


def test_the_signature_names_every_flag_with_its_default():
    made = signature(Outer, {"quiet": False}, int)
    assert {name: p.default for name, p in made.parameters.items()} == {
        "folder": None, "stack": 1, "fresh": False, "rate": 0.5, "stages": (2, 3), "stn": True,
        "quiet": False,
    }  # fmt: skip
    kinds = {p.kind for p in made.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
