"""`voicecall demo`: a whole spoken call on this machine, shown live and checked by ear."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voicecall.cli.invocation import emit_json, json_option

if TYPE_CHECKING:
    from voicecall.cli.demo_line import CarrierName
    from voicecall.cli.demo_models import ModeName, SpeechName
    from voicecall.cli.invocation import Invocation


@click.command("demo")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("recordings"),
    show_default=True,
    help="Folder for the recording and the transcript.",
)
@click.option(
    "--carrier",
    type=click.Choice(["mock", "twilio", "telnyx", "plivo"]),
    default="mock",
    show_default=True,
    help="Whose protocols are spoken; a simulated carrier stands for the real one.",
)
@click.option(
    "--speech",
    type=click.Choice(["local", "openai"]),
    default="local",
    show_default=True,
    help="Whose protocols the server speaks to its models; all of them run on this machine.",
)
@click.option(
    "--mode",
    type=click.Choice(["pipeline", "realtime"]),
    default="pipeline",
    show_default=True,
    help="Recognition, language model and voice one after the other, or speech to speech.",
)
@json_option
@click.pass_obj
def command(
    invocation: Invocation,
    *,
    output: Path,
    carrier: CarrierName,
    speech: SpeechName,
    mode: ModeName,
) -> None:
    """Hold a spoken conversation between a simulated caller and the server.

    Server, carrier and caller run on this machine and talk over the real media protocol; both
    sides really speak and really listen. With a carrier other than mock the call goes the whole
    way: dialled by the vendor's package, reported by signed webhooks, its audio in the carrier's
    own dialect. Likewise with models: behind OpenAI's protocols there is a simulated service, which
    needs no key. Exits with 1 if what was heard is not what was said.

    Example: voicecall demo --carrier telnyx --json | jq .summary
    """
    # Engines, server and terminal are not worth loading for `--help`.
    import uvloop  # noqa: PLC0415

    from voicecall.cli.demo_call import DemoCall, Parts  # noqa: PLC0415
    from voicecall.cli.demo_report import print_report  # noqa: PLC0415
    from voicecall.cli.demo_view import LineView, TerminalView  # noqa: PLC0415

    if not invocation.verbose:
        # The views tell what happens; lines in between would tear the live picture.
        logging.getLogger("voicecall").setLevel(logging.WARNING)
    view = LineView() if invocation.wants_json else TerminalView()
    report = uvloop.run(DemoCall(output, view, Parts(carrier, speech, mode)).run())
    if invocation.wants_json:
        emit_json(report.to_json())
    else:
        print_report(report)
    sys.exit(0 if report.ok else 1)
