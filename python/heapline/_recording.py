"""Recordings that a program begins and ends itself: start, stop, track."""

from __future__ import annotations

import errno
import os
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, TracebackType

    from heapline._tracker import Tracker

_TRACK, _TRACK_END = 4, 5  # hl_mark_kind
CHILDREN = ("none", "python", "all")


class HeaplineError(RuntimeError):
    """A recording cannot begin, or could not be completed; the text says why and what to do."""


class Recording:
    """A recording that is on, or was. Made by start() and track()."""

    path: str
    """The profile; absolute. Inside another recording: "", as only that one knows its profile."""
    own: bool
    """False: it is a part of another recording (`heapline run`, a track() around it), which goes on after it."""
    recorded: str
    """"objects", "stacks" (no Python objects), "malloc" (no Python stacks either)."""
    reason: str
    """Why less is recorded than was asked for; "" where nothing is missing."""

    def __init__(self, path: str, own: bool, recorded: str = "objects", reason: str = "") -> None:
        self.path = path
        self.own = own
        self.recorded = recorded
        self.reason = reason

    def __repr__(self) -> str:
        inside = "" if self.own else " inside another recording"
        return f"<heapline.Recording {self.path!r}{inside}>"


class _State:
    """What this process records. Changed under `lock` only."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.tracker: Tracker | None = None
        self.recording: Recording | None = None  # the own one that is on
        self.started: Recording | None = None  # by start(); it may be a part of another
        self.pending_lines: dict[CodeType, tuple[str, int]] = {}  # for the library, when it is loaded
        self.tracks = 0  # blocks of track() that the own recording waits for
        self.unwritten: Recording | None = None  # `recording`, when it is one of begin_unwritten()

    def loaded(self) -> Tracker:
        if self.tracker is None:
            from heapline._tracker import Tracker

            try:
                self.tracker = Tracker()
            except (OSError, AttributeError) as error:
                raise HeaplineError(f"heapline cannot be loaded: {error}") from None
            while self.pending_lines:
                code, (name, flags) = self.pending_lines.popitem()
                self.tracker.add_lines(code, name, flags)
        return self.tracker


_state = _State()


def _forked() -> None:
    """A forked child is recorded with its parent (or not at all); it has begun nothing."""
    _state.lock = allocate_lock()
    _state.recording = _state.started = _state.unwritten = None
    _state.tracks = 0
    if _state.tracker is not None:
        _state.tracker.forked()


os.register_at_fork(after_in_child=_forked)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _options(
    path: str | None,
    native: bool,
    python_objects: bool,
    children: str,
    overwrite: bool,
    interval: float,
    labels: Mapping[str, str] | None,
    source: bool,
) -> str:
    if children not in CHILDREN:
        raise ValueError(f"children={children!r}: one of {', '.join(map(repr, CHILDREN))}")
    words = ["--inside", f"--children={children}", f"--interval={round(interval * 1e9)}ns"]
    if path is not None:
        words.append("--output=" + path.replace("%", "%%"))
    for name, wanted in (
        ("force", overwrite),
        ("native", native),
        ("malloc-only", not python_objects),
        ("no-source", not source),
    ):
        if wanted:
            words.append("--" + name)
    words += [f"--label={key}={value}" for key, value in (labels or {}).items()]
    return " ".join(map(_quoted, words))


def _begin(tracker: Tracker, path: str | None, options: str) -> Recording:
    error, text = tracker.begin(options)
    if error:
        if error == errno.EPERM and text:
            raise HeaplineError(text)
        raise HeaplineError(f"{path or 'heapline'}: no recording can begin: {os.strerror(error)}")
    try:
        tracker.name_threads()
        level = tracker.enter()
    except BaseException:
        tracker.leave()
        tracker.end()
        raise
    if level < 0:
        tracker.leave()
        tracker.end()
        raise HeaplineError(f"{text}: no recording can begin: {os.strerror(-level)}")
    from heapline._tracker import LEVELS

    return Recording(text, True, LEVELS[level], tracker.reason())


def _end(tracker: Tracker) -> None:
    """Ends the own recording, and waits until its profile is complete."""
    recording = _state.recording
    _state.recording = _state.unwritten = None
    tracker.leave()
    error = tracker.end()
    if error and recording:
        why = "its collector has died" if error == errno.ECHILD else os.strerror(error)
        raise HeaplineError(f"{recording.path}: the profile is not complete: {why}")


def _clear(tracker: Tracker) -> int:
    """The state; a recording that has ended by itself is put away, and one that is not written gives way."""
    from heapline._tracker import OVER

    if _state.unwritten is not None:
        _end(tracker)
    state = tracker.state()
    if state == OVER:
        _state.recording = _state.started = None
        tracker.leave()
        tracker.end()
        state = tracker.state()
    return state


def begin_unwritten() -> None:
    """Where nothing is recorded, begins a recording for this process's own questions only (heap_bytes ..), without a profile. It ends
    when start() or track() begins one, and with the process."""
    import tempfile

    with _state.lock:
        tracker = _state.loaded()
        from heapline._tracker import BY_ITSELF, BY_OTHERS

        if _clear(tracker) in (BY_OTHERS, BY_ITSELF):
            return
        name = os.path.join(tempfile.gettempdir(), f"heapline-{os.getpid()}-unwritten")
        options = _options(name, False, True, "none", True, 0.01, None, False) + " --discard"
        _state.recording = _state.unwritten = _begin(tracker, name, options)


def _absolute(path: str | os.PathLike[str] | None, overwrite: bool) -> str | None:
    if path is None:
        return None
    whole = os.path.abspath(os.fspath(path))
    if not overwrite and os.path.isfile(whole):
        raise FileExistsError(errno.EEXIST, "this profile exists (overwrite=True replaces it)", whole)
    return whole


def start(
    path: str | os.PathLike[str] | None = None,
    *,
    native: bool = False,
    python_objects: bool = True,
    children: str = "python",
    overwrite: bool = False,
    interval: float = 0.01,
    labels: Mapping[str, str] | None = None,
    source: bool = True,
) -> Recording:
    """Begins to record this process, all its threads, and its children, until stop() or its end.

    path: the profile (default: <script>.<pid>.heapline in the working folder). An existing file is replaced only with
        overwrite=True; else FileExistsError.
    native: C frames too.
    python_objects: False leaves out Python's own objects: cheaper, and only what reaches malloc and mmap is counted.
    children: which child processes are recorded into the same profile: "none", "python", "all"; others are listed.
    interval: the tick of the timeline and of the RSS samples, in seconds.
    labels: kept in the profile.
    source: keep the text of source files in the profile.

    Raises HeaplineError when a recording that this process has begun is on already, or none can begin. In a process that
    `heapline run` records nothing is begun: that recording goes on, and the result has own=False."""
    with _state.lock:
        options = _options(None, native, python_objects, children, overwrite, interval, labels, source)
        tracker = _state.loaded()
        from heapline._tracker import BY_OTHERS

        state = _clear(tracker)
        running = _state.recording or _state.started
        if running:
            raise HeaplineError(
                f"{running.path or 'this process'}: is being recorded already (stop() ends that; track() may be nested)"
            )
        if state == BY_OTHERS:
            recording = Recording("", False)
            tracker.mark(_TRACK, os.fspath(path or ""))
        else:
            whole = _absolute(path, overwrite)
            if whole is not None:
                options += " " + _quoted("--output=" + whole.replace("%", "%%"))
            recording = _state.recording = _begin(tracker, whole, options)
        _state.started = recording
        return recording


def stop() -> str:
    """Ends the recording that start() began, and waits until its profile is complete. Returns the profile's path.

    Raises HeaplineError when there is none, or when its profile could not be completed."""
    with _state.lock:
        started = _state.started
        if started is None:
            raise HeaplineError("nothing to stop: start() has begun no recording in this process")
        _state.started = None
        if started.own:
            _end(_state.loaded())
        else:
            _state.loaded().mark(_TRACK_END, "")
        return started.path


def is_recording() -> bool:
    """Whether this process is being recorded, by itself or by `heapline run`."""
    with _state.lock:
        from heapline._tracker import BY_ITSELF, BY_OTHERS

        return _state.loaded().state() in (BY_OTHERS, BY_ITSELF)


class track:
    """Records what happens within a `with` block, as start() and stop() would: the whole process, with its threads and children.

        with heapline.track("part.heapline") as recording:
            ...

    The arguments are those of start(). Where a recording is on already (a track() around it, here or in another thread; start();
    `heapline run`), that one goes on and the block is a part of it: `recording.own` is False. A recording that a track() began
    ends with the last of the blocks that were in it. An object of this class may be used several times, one after the other;
    each time begins a profile anew, so that needs overwrite=True or no path."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        native: bool = False,
        python_objects: bool = True,
        children: str = "python",
        overwrite: bool = False,
        interval: float = 0.01,
        labels: Mapping[str, str] | None = None,
        source: bool = True,
    ) -> None:
        self._path = path
        self._overwrite = overwrite
        self._options = _options(None, native, python_objects, children, overwrite, interval, labels, source)
        self._recording: Recording | None = None
        self._pid = 0

    def __enter__(self) -> Recording:
        if self._recording is not None:
            raise HeaplineError("this track() is in use already: make another one")
        with _state.lock:
            tracker = _state.loaded()
            from heapline._tracker import BY_OTHERS

            state = _clear(tracker)
            if _state.recording or state == BY_OTHERS:
                recording = Recording(_state.recording.path if _state.recording else "", False)
                tracker.mark(_TRACK, os.fspath(self._path or ""))
                if _state.recording and not _state.started:
                    _state.tracks += 1
            else:
                whole = _absolute(self._path, self._overwrite)
                options = self._options
                if whole is not None:
                    options += " " + _quoted("--output=" + whole.replace("%", "%%"))
                recording = _state.recording = _begin(tracker, whole, options)
                _state.tracks = 1
            self._recording = recording
            self._pid = os.getpid()
            return recording

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        recording = self._recording
        self._recording = None
        if recording is None or self._pid != os.getpid():  # a forked child leaves its parent's block
            return
        with _state.lock:
            if not recording.own:
                _state.loaded().mark(_TRACK_END, os.fspath(self._path or ""))
            if _state.recording is None or _state.started or _state.tracks == 0:
                return
            _state.tracks -= 1
            if _state.tracks == 0:
                _end(_state.loaded())
