"""What is fuzzed, by name: one module each, with a `TARGET`.

A target's name is its module's and its corpus folder's. To add one, write the module and list it.
"""

from tests.fuzz.target import Target
from tests.fuzz.targets import base64, dtmf, framing, g711, jitter, pacer, resample, stream

TARGETS: dict[str, Target] = {
    "base64": base64.TARGET,
    "dtmf": dtmf.TARGET,
    "framing": framing.TARGET,
    "g711": g711.TARGET,
    "jitter": jitter.TARGET,
    "pacer": pacer.TARGET,
    "resample": resample.TARGET,
    "stream": stream.TARGET,
}
