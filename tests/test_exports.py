"""What the public packages promise is there, and nothing that is promised is missing."""

from __future__ import annotations

import importlib
import inspect

import pytest

import voicecall
from voicecall import errors, server
from voicecall.config import schema
from voicecall.llm import tools as llm_tools

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("package", ["voicecall", "voicecall.simulator"])
def test_every_promised_name_resolves(package: str) -> None:
    module = importlib.import_module(package)
    promised = module.__all__
    assert sorted(set(promised)) == list(promised)
    missing = [name for name in promised if not hasattr(module, name)]
    assert missing == []


def test_the_package_offers_the_server_its_configuration_and_every_error() -> None:
    tree = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    tools = {"ToolContext", "ToolError", "tool"}
    clients = {"Client", "SyncClient"}
    assert set(voicecall.__all__) == tree | tools | clients | {
        "Call",
        "Config",
        "Server",
        "__version__",
        "create_app",
        "load_config",
    }
    assert voicecall.tool is llm_tools.tool
    assert voicecall.Server is server.Server
    assert voicecall.Config is schema.Config
    assert voicecall.ConfigError is errors.ConfigError


def test_public_names_are_listed_for_completion() -> None:
    assert dir(voicecall) == sorted(voicecall.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Servre'"):
        _ = voicecall.Servre  # type: ignore[attr-defined]  # that it does not exist is the point
