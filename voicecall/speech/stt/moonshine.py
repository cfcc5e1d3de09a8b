"""The Moonshine recogniser, given its audio as one block of memory.

The package's own method takes a list and turns every sample into an object and back; for an
utterance of half a minute that holds the interpreter, and with it every call, for 80 ms.
Imported only when the model is loaded: it needs an optional package.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from moonshine_voice import ModelArch, Transcriber, get_model_path
from moonshine_voice.errors import check_error
from moonshine_voice.moonshine_api import TranscriptC

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Moonshine(Transcriber):  # type: ignore[misc]  # the package publishes no types
    """The tiny English model.

    Raises:
        MoonshineError: it cannot be loaded.

    Source: moonshine-voice 0.1.0; the pinned version, since this reaches below its surface.
    """

    def __init__(self) -> None:
        model = str(get_model_path("tiny-en"))
        super().__init__(model, ModelArch.TINY, options={"return_audio_data": "false"})

    def words(self, samples: npt.NDArray[np.float32], rate_hz: int) -> str:
        """What is said in `samples`, -1.0 to 1.0, contiguous and writable. Any thread.

        Raises:
            MoonshineError: the model failed.
        """
        audio = (ctypes.c_float * samples.size).from_buffer(samples.data)
        found = ctypes.POINTER(TranscriptC)()
        check_error(
            self._lib.moonshine_transcribe_without_streaming(
                self._handle, audio, samples.size, rate_hz, 0, ctypes.byref(found)
            )
        )
        return " ".join(line.text.strip() for line in self._parse_transcript(found).lines)
