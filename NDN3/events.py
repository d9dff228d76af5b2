"""TensorBoard event files, written and read without TensorFlow.

Training writes its curves here and TensorBoard shows them, so the files have the form that
TensorFlow 2 gives them: a scalar is a tensor of rank 0, and a tag's first value in a file names the
"scalars" plugin. Reading also takes the simple values that TensorFlow 1 wrote. Framing, checksums
and messages come from the ``tensorboard`` package, of which only parts without TensorFlow are used:
importing this module takes a tenth of a second, and a group of twenty repetitions logs an epoch in
well under a millisecond.
"""

import contextlib
import itertools
import json
import logging
import os
import re
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, tensor_shape_pb2, types_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from NDN3 import paths
from NDN3.records import read_records

PREFIX = "events.out.tfevents."
HPARAMS_SUFFIX = ".hparams.v2"

_log = logging.getLogger(__name__)
_count = itertools.count()
# Event: time (1), step (2) unless it is 0, and then a summary (5)
_head = re.compile(rb"\x09(.{8})(?:\x10([\x80-\xff]{0,8}[\x00-\x7f]))?\x2a", re.DOTALL)
_time_of = struct.Struct("<d").unpack
_scalar_metadata = scalar_metadata.create_summary_metadata(display_name="", description="")
_scalar_shape = tensor_shape_pb2.TensorShapeProto()
_statuses = {
    "done": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "diverged": api_pb2.STATUS_FAILURE,
}


class EventWriter:
    """A new event file in a folder; several may lie side by side, readers join them.

    Parameters
    ----------
    folder : path
        Made if missing. TensorBoard calls it a run.
    name : str, optional
        File name. Made of time, host and process when left out, so that later files sort later.
    temporary : bool
        Whether the file is invisible to readers until `close`, which then gives it its name.
    mark : str
        Part of a file name that is made, see `write_scalars`.
    """

    def __init__(
        self, folder: str | Path, name: str | None = None, temporary: bool = False, mark: str = ""
    ):
        folder = paths.made(Path(folder))
        self.path = folder / (name or _file_name(_suffix(mark)))
        self._temporary = temporary
        # TensorBoard takes every file with "tfevents" in its name, so the temporary one has none
        hidden = folder / f".{self.path.name.removeprefix(PREFIX)}.part"
        self._written = hidden if temporary else self.path
        self._file = open(self._written, "xb")  # noqa: SIM115  (kept open as long as training runs)
        self._records = RecordWriter(self._file)
        self._known: set[str] = set()
        self._write(event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"))

    def scalars(
        self, step: int, values: Mapping[str, float], wall_time: float | None = None
    ) -> None:
        """Add one value for each tag.

        Parameters
        ----------
        step : int
            Epoch, from 0.
        values : mapping of str to float
            Tag, such as ``"loss/cost"``, and value. Kept as float32.
        wall_time : float, optional
            Seconds since 1970; now when left out.
        """
        event = event_pb2.Event(wall_time=time.time() if wall_time is None else wall_time)
        event.step = int(step)
        for tag, value in values.items():
            entry = event.summary.value.add(tag=tag)
            entry.tensor.dtype = types_pb2.DT_FLOAT
            entry.tensor.tensor_shape.CopyFrom(_scalar_shape)
            entry.tensor.float_val.append(float(value))
            if tag not in self._known:
                self._known.add(tag)
                entry.metadata.CopyFrom(_scalar_metadata)
        self._write(event)

    def metadata(self, tag: str, content: summary_pb2.SummaryMetadata) -> None:
        """Add a tag that consists of its description only, as the HParams plugin wants them."""
        event = event_pb2.Event(wall_time=time.time())
        event.summary.value.add(tag=tag, metadata=content, tensor=hparams_metadata.NULL_TENSOR)
        self._write(event)

    def flush(self) -> None:
        """Hand everything to the operating system, so that readers see it."""
        self._records.flush()

    def close(self) -> None:
        """End the file; a temporary one is safe on disk before it gets its name."""
        if self._file.closed:
            return
        try:
            self.flush()
            if self._temporary:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError:  # a full disk
            self._discard()
            raise
        if self._temporary:
            os.replace(self._written, self.path)

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None and self._temporary:
            self._discard()
        self.close()

    def _discard(self) -> None:
        """Close the file; a temporary one is gone then."""
        with contextlib.suppress(OSError):  # what is left to be written does not fit
            self._file.close()
        if self._temporary:
            self._written.unlink()

    def _write(self, event: event_pb2.Event) -> None:
        self._records.write(event.SerializeToString())


def write_scalars(
    folder: str | Path, rows: Iterable[tuple[int, float, Mapping[str, float]]], mark: str = ""
) -> Path | None:
    """Replace the curves in a folder by one new file, and return it; by none without any row.

    The new file has its name only when it is complete; older ones are removed after that, so a
    crash at any moment leaves at least one whole set of curves. Used when training resumes: the
    checkpoint's history is the truth, and no epoch stands twice.

    Parameters
    ----------
    folder : path
        Made if missing.
    rows : iterable of (step, wall_time, {tag: value})
        In the order of the steps; wall time in seconds since 1970.
    mark : str
        Tells the curves of one training from those of others in the folder: only files with it in
        their names are replaced. Without it all are.
    """
    folder = Path(folder)
    older = [path for path in event_files(folder) if not path.name.endswith(HPARAMS_SUFFIX)]
    if mark:
        older = [path for path in older if path.name.endswith(_suffix(mark))]
    written = None
    remaining = iter(rows)
    first = next(remaining, None)
    if first is not None:
        with EventWriter(folder, temporary=True, mark=mark) as writer:
            for step, wall_time, values in itertools.chain([first], remaining):
                writer.scalars(step, values, wall_time)
        written = writer.path
    for path in older:
        path.unlink(missing_ok=True)
    return written


def write_hparams(
    folder: str | Path,
    arguments: Mapping[str, object],
    group_name: str,
    scores: Mapping[str, float] | None = None,
    status: str | None = None,
    start_time: float | None = None,
) -> Path:
    """Describe a repetition to TensorBoard's HParams page, and return the file that does.

    Called when a repetition starts and again when it ends; the later description takes the place
    of the earlier one. Nothing says which columns the page has: TensorBoard would believe the first
    session that does, for the sessions of all other experiments too. So it finds them itself: the
    hyper-parameters of all sessions, their scores, and the last values of all curves below them.

    Parameters
    ----------
    folder : path
        The repetition's folder: the session, in TensorBoard's word.
    arguments : mapping
        Hyper-parameters. Numbers, texts and truth values keep their type, anything else is written
        as JSON.
    group_name : str
        Sessions of the same group are averaged: the run that the repetition belongs to.
    scores : mapping of str to float, optional
        Final scores, written as the scalars ``score/…`` of the session itself.
    status : {"running", "done", "failed", "diverged"}, optional
        How the repetition ended; "running" and None mean that it has not.
    start_time : float, optional
        Seconds since 1970; now when left out.

    Raises
    ------
    ValueError
        If the status is another word.
    """
    if status not in (None, "running", *_statuses):
        allowed = ", ".join(["running", *_statuses])
        raise ValueError(f"status must be one of {allowed}, got {status!r}. Give one of those.")
    folder = Path(folder)
    older = [path for path in event_files(folder) if path.name.endswith(HPARAMS_SUFFIX)]
    start = plugin_data_pb2.SessionStartInfo(
        group_name=group_name, start_time_secs=time.time() if start_time is None else start_time
    )
    for name, value in arguments.items():
        _set_value(start.hparams[name], value)
    with EventWriter(folder, name=_file_name(HPARAMS_SUFFIX), temporary=True) as writer:
        _add(writer, hparams_metadata.SESSION_START_INFO_TAG, session_start_info=start)
        if scores:
            writer.scalars(0, {f"score/{name}": value for name, value in scores.items()})
        if status in _statuses:
            end = plugin_data_pb2.SessionEndInfo(
                status=_statuses[status], end_time_secs=time.time()
            )
            _add(writer, hparams_metadata.SESSION_END_INFO_TAG, session_end_info=end)
    for path in older:
        path.unlink(missing_ok=True)
    return writer.path


def event_files(folder: str | Path) -> list[Path]:
    """Event files directly in a folder, oldest first; empty when there is no such folder."""
    return sorted(Path(folder).glob(f"{PREFIX}*"))


def read_events(
    path: str | Path, tag: str | None = None
) -> Iterator[tuple[int, float, str, float]]:
    """Scalars of an event file in the order of writing.

    Parameters
    ----------
    path : path
        A file of TensorFlow 1 (simple values) or 2 (tensors), which may still be growing: a last
        record that is incomplete ends the reading without a word, a damaged one with a warning.
    tag : str, optional
        Only this tag, which is several times faster where files hold others too.

    Yields
    ------
    step : int
    wall_time : float
        Seconds since 1970.
    tag : str
    value : float

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    try:
        found, damage = read_records(path)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"There is no event file {path}. Give one that exists.") from None
    if damage is not None:
        _log.warning(
            "%s is damaged from byte %d on; what stands before was read, what comes behind is lost",
            *(path, damage),
        )
    needle = b"" if tag is None else tag.encode()
    ours = _written_here(needle)
    for record in found:
        if needle not in record:
            continue
        if tag is not None and (told := ours(record)):
            yield told[0], told[1], tag, told[2]
            continue
        event = event_pb2.Event.FromString(record)
        for entry in event.summary.value:
            if tag is not None and entry.tag != tag:
                continue
            value = _scalar(entry)
            if value is not None:
                yield event.step, event.wall_time, entry.tag, value


def _written_here(tag: bytes) -> Callable[[bytes], tuple[int, float, float] | None]:
    """Reader of step, time and value of a record as `EventWriter` lays it out, None for others.

    It looks for the bytes of a scalar of this tag, which takes a fifth of the time of parsing.
    """
    # Summary.Value: tag (1), tensor (8) of type float (1), shape () (2), one value (5)
    before = b"\x0a%c%b\x42\x0a\x08\x01\x12\x00\x2a\x04" % (min(len(tag), 255), tag)
    value_of = struct.Struct("<f").unpack_from

    def read(record: bytes) -> tuple[int, float, float] | None:
        head = _head.match(record)
        at = record.find(before) + len(before)
        if head is None or at < len(before) or record.find(before, at) >= 0 or len(tag) > 127:
            return None
        step = 0
        for place, byte in enumerate(head[2] or b""):
            step |= (byte & 127) << 7 * place
        return step, _time_of(head[1])[0], value_of(record, at)[0]

    return read


def _scalar(entry: summary_pb2.Summary.Value) -> float | None:
    """Value of a summary entry, or None when it is no scalar."""
    if entry.HasField("simple_value"):
        return entry.simple_value
    if not entry.HasField("tensor") or entry.tensor.tensor_shape.dim:
        return None
    tensor: tensor_pb2.TensorProto = entry.tensor
    if tensor.dtype == types_pb2.DT_FLOAT and tensor.float_val:
        return tensor.float_val[0]
    if tensor.dtype == types_pb2.DT_STRING:
        return None
    return float(tensor_util.make_ndarray(tensor))


def _suffix(mark: str) -> str:
    return f".{mark}.v2" if mark else ".v2"


def _file_name(suffix: str) -> str:
    # the counter keeps two files of one second apart and in order
    host, process = socket.gethostname(), os.getpid()
    return f"{PREFIX}{int(time.time())}.{host}.{process}.{next(_count):06d}{suffix}"


def _add(writer: EventWriter, tag: str, **content: object) -> None:
    data = plugin_data_pb2.HParamsPluginData(**content)
    writer.metadata(tag, hparams_metadata.create_summary_metadata(data))


def _set_value(field, value: object) -> None:
    if isinstance(value, bool):
        field.bool_value = value
    elif isinstance(value, int | float):
        field.number_value = value
    elif isinstance(value, str):
        field.string_value = value
    else:
        field.string_value = json.dumps(value, default=str)
