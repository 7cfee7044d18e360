"""What Ray is asked and what it says, without Ray."""

import pickle
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from camixersr.errors import DeviceError, OutputError
from camixersr.fleet.cluster import Cluster, RemoteLedger, _Told
from camixersr.fleet.resources import Resources


class BothError(OutputError):
    """As Ray raises what an actor raised: of its kind, with pages of Ray's own as its words."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("\x1b[36mray::Ledger.state()\nTraceback ...\nOutputError: the disk is full")
        self.cause = cause


def asked(monkeypatch, error: Exception) -> str:
    def get(_: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=get))
    actor = SimpleNamespace(state=SimpleNamespace(remote=lambda: None))
    with pytest.raises((OutputError, DeviceError)) as caught:
        RemoteLedger(actor).state()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_what_goes_wrong_in_the_ledger_is_told_in_one_line(monkeypatch) -> None:
    error = BothError(OutputError("the disk is full"))
    assert asked(monkeypatch, error) == "OutputError: the disk is full"
    died = RuntimeError("\x1b[36mray::Ledger\n  File x\nThe actor died unexpectedly")
    line = asked(monkeypatch, died)
    assert line == "DeviceError: the ledger of this run has ended: The actor died unexpectedly"


class Actor:
    def __init__(self, word: str) -> None:
        if word == "never":
            raise DeviceError("another version")
        self.word = word

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["n"] < 0:
            raise OutputError("the disk is full")
        return {"said": self.word * row["n"]}


def test_errors_of_workers_come_as_rows() -> None:
    worker = _Told(Actor, ("a",))
    told = [pickle.loads(worker({"n": number})["told"]) for number in (2, -1)]
    assert told[0] == {"said": "aa"}
    assert (type(told[1]), str(told[1])) == (OutputError, "the disk is full")
    (error,) = (pickle.loads(_Told(Actor, ("never",))({"n": 1})["told"]),)
    assert (type(error), str(error)) == (DeviceError, "another version")


def test_ray_that_somebody_else_uses_here_is_left_alone(monkeypatch) -> None:
    ended: list[int] = []
    fake = SimpleNamespace(is_initialized=lambda: True, shutdown=lambda: ended.append(1))
    monkeypatch.setitem(sys.modules, "ray", fake)
    with pytest.raises(DeviceError, match="in use in this process"):
        Cluster(Resources())
    assert not ended


def test_a_cluster_that_nobody_hears_is_said_at_once(monkeypatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, shutdown=bool))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(DeviceError, match=f"Ray at {address}"):
        Cluster(Resources(address="auto"))
