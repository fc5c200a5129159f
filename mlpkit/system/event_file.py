"""Writes TensorBoard event files, with TensorBoard's protobuf messages and without TensorFlow.

A record is its length, a checksum of the length, the message, and a checksum of the message.

Not TensorBoard's own writer, which slows down runs with many short epochs: here all scalars of an epoch share
one record, and the checksum is computed in C, not in Python.
"""

import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from mlpkit.system.append_file import AppendFile
from mlpkit.system.console import printable
from mlpkit.system.failed_write import failed_write

_TIME = re.compile(r"events\.out\.tfevents\.([0-9]{1,18})\.")


class EventFile:
    """An event file, open for writing."""

    def __init__(self, folder: Path, purge_from: int | None = None) -> None:
        """Create a new file in the folder, which is created if missing.

        Args:
            folder: folder of the run's event files; TensorBoard reads them in the order of their names.
            purge_from: makes TensorBoard discard the values of earlier files from this step on; None removes
                these files.

        Raises:
            WriteError: the file cannot be created.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            earlier = {path: int(found[1]) for path in folder.iterdir() if (found := _TIME.match(path.name))}
            for path in earlier if purge_from is None else ():
                path.unlink()
            times = earlier.values()
        except OSError as error:
            raise failed_write(folder, error) from None
        later = max([int(time.time()), *(number + 1 for number in times)])
        self._file = AppendFile(folder / f"events.out.tfevents.{later:010d}.mlpkit.{os.getpid()}.0")
        self._waiting = bytearray()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_from is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_from, session_log=start))

    def scalars(self, step: int, wall_time: float, values: Mapping[str, float]) -> None:
        """Write scalars of one step; `values` maps tags to values."""
        event = Event(wall_time=wall_time, step=step)
        add = event.summary.value.add
        for name, value in values.items():
            add(tag=name, simple_value=value)
        self._write(event)

    def values(self, step: int, values: Sequence[Summary.Value]) -> None:
        """Write values of `mlpkit.system.event_values`."""
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def graph(self, graph: bytes) -> None:
        """Write the graph of `mlpkit.system.event_values`; TensorBoard shows the first of a run."""
        self._write(Event(wall_time=time.time(), graph_def=graph))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Write a PNG picture under the tag `name`."""
        width, height = struct.unpack(">II", png[16:24])  # a PNG begins with its size
        picture = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        entry = Summary.Value(tag=name, image=picture)
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=[entry])))

    def hparams(self, settings: Mapping[str, bool | float | str], name: str) -> None:
        """Write the settings for the HPARAMS tab; its metrics are the scalars of this file.

        Without an experiment record, TensorBoard makes one table of all runs it shows.

        Args:
            settings: by dotted key.
            name: the run's name in the table; runs of the same name would share a row.
        """
        now = time.time()
        end = HParamsPluginData(
            session_end_info=SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=now),
            version=metadata.PLUGIN_DATA_VERSION,
        )
        closing = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(end)
        )
        shown = {key: printable(text) for key, text in settings.items() if isinstance(text, str)}
        self._write(Event(wall_time=now, summary=hparams_pb({**settings, **shown}, trial_id=printable(name))))
        self._write(Event(wall_time=now, summary=Summary(value=[closing])))

    def flush(self) -> None:
        """Write everything buffered to the file.

        Raises:
            WriteError: it cannot be written.
        """
        waiting, self._waiting = bytes(self._waiting), bytearray()
        if waiting:
            self._file.write(waiting)

    def sync(self) -> None:
        """Flush the file to the disk."""
        self._file.sync()

    def close(self) -> None:
        """Write everything buffered, and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()

    def _write(self, event: Event) -> None:
        message = event.SerializeToString()
        length = struct.pack("<Q", len(message))
        self._waiting += length + _checksum(length) + message + _checksum(message)


def _checksum(content: bytes) -> bytes:
    """Return TensorFlow's masked CRC-32C: rotated right by 15 bits, plus a constant."""
    value = google_crc32c.value(content)
    return struct.pack("<I", (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
