"""What is fuzzed, by name: one module each, with a `TARGET`.

A target's name is its module's and its corpus folder's. To add one, write the module and list it.
"""

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    base64,
    config,
    dialects,
    dtmf,
    framing,
    g711,
    jitter,
    pacer,
    resample,
    rpc,
    stream,
    webhooks,
    websocket,
)

TARGETS: dict[str, Target] = {
    "base64": base64.TARGET,
    "config": config.TARGET,
    "dialects": dialects.TARGET,
    "dtmf": dtmf.TARGET,
    "framing": framing.TARGET,
    "g711": g711.TARGET,
    "jitter": jitter.TARGET,
    "pacer": pacer.TARGET,
    "resample": resample.TARGET,
    "rpc": rpc.TARGET,
    "stream": stream.TARGET,
    "webhooks": webhooks.TARGET,
    "websocket": websocket.TARGET,
}
