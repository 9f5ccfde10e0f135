"""The first process of the container: starts the command, buries the dead, ends when all have ended.

The kernel kills everything in a container when its first process ends. So this one waits: a training
that is told to stop writes its checkpoint first.
"""

import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from container.command import Command
from container.process_table import Stopping, in_care, living, send, titles

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FORWARDED = (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT)
POLL = 0.1
"""Seconds between two looks at what still runs, while stopping."""
ORPHANS = 10.0
"""Seconds for processes that the command left behind."""
_SET_CHILD_SUBREAPER = 36


def run(command: Command, environ: Mapping[str, str]) -> int:
    """Run the command to its end and return the container's exit status.

    The command's own, 128 + signal if one killed it or if it was stopped and failed; 127 and 126
    for a command that does not exist or cannot be run.
    """
    adopt_orphans()
    # Waited for, never handled: a signal between two lines of this program is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, *STOP, *FORWARDED})
    try:
        child = start(command, environ)
    except FileNotFoundError:
        print(f"error: {command.words[0]}: no such command in the image", file=sys.stderr)
        return 127
    except OSError as error:
        print(f"error: {command.words[0]}: {error.strerror}", file=sys.stderr)
        return 126
    return Watch(child).until_the_end()


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants also where this is not process 1."""
    with suppress(OSError, AttributeError):  # process 1 is it anyway
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command: Command, environ: Mapping[str, str]) -> int:
    """Start the command in a process group of its own; return its pid.

    Ctrl-C at a terminal reaches its foreground group. For a batch command that stays this process,
    which stops the others in order; a command that may ask something gets the terminal.
    """
    program = shutil.which(command.words[0], path=environ.get("PATH"))
    if program is None:
        raise FileNotFoundError(command.words[0])
    # a stop must reach the command also where whatever started this ignores it, as nohup and & do
    child = os.posix_spawn(
        program, command.words, dict(environ), setpgroup=0, setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, *STOP, *FORWARDED],
    )  # fmt: skip
    if not command.batch and sys.stdin is not None and sys.stdin.isatty():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        with suppress(OSError):  # not our terminal: `docker exec` in the background
            os.tcsetpgrp(sys.stdin.fileno(), child)
            # one that has asked before the terminal was its own was stopped for that (SIGTTIN)
            os.killpg(child, signal.SIGCONT)
    return child


class Watch:
    """Waits for signals and for the end of processes, and acts on both."""

    def __init__(self, child: int) -> None:
        self.child = child
        self.status: int | None = None
        """The command's exit status, once it has ended."""
        self.asked: signal.Signals | None = None
        """The first signal that asked the container to stop."""
        self.stopping = Stopping()
        self.began = 0.0
        self.left_behind = False

    def until_the_end(self) -> int:
        """Return the exit status when nothing runs any more."""
        while True:
            self.wait()
            self.bury()
            if self.asked is None and self.status is None:
                continue
            if not self.left_behind and self.status is not None and self.asked is None:
                self.left_behind, self.began = True, time.monotonic()
            remaining = in_care(living(), os.getpid())
            if self.over(bool(remaining)):
                return self.result()
            self.stopping.tell(remaining, time.monotonic())

    def wait(self) -> None:
        """Wait for the next signal, or for a while if something is to be looked at again."""
        watched = {signal.SIGCHLD, *STOP, *FORWARDED}
        busy = self.asked is not None or self.status is not None
        arrived = signal.sigtimedwait(watched, POLL) if busy else signal.sigwaitinfo(watched)
        if arrived is None:
            return
        number = signal.Signals(arrived.si_signo)
        if number in FORWARDED and self.status is None:
            send(self.child, number)
        elif number in STOP:
            self.stop(number)

    def stop(self, number: signal.Signals) -> None:
        """Note the wish to stop; a second Ctrl-C is the wish not to wait for it."""
        remaining = in_care(living(), os.getpid())
        if self.asked is None:
            self.asked, self.began = number, time.monotonic()
            what = titles(remaining.values())
            hurry = "; Ctrl-C again ends it at once" if number == signal.SIGINT else ""
            # a progress bar leaves the cursor in its line
            print(f"\nstopping ({number.name}): {what or 'nothing runs'}{hurry}", file=sys.stderr)
        elif number == signal.SIGINT:
            for pid in remaining:
                send(pid, signal.SIGKILL)

    def bury(self) -> None:
        """Take the exit status of everything that has ended."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self.child:
                    code = os.waitstatus_to_exitcode(status)
                    self.status = code if code >= 0 else 128 - code

    def over(self, others: bool) -> bool:
        """Whether there is nothing more to wait for."""
        if self.status is None or not others:
            return self.status is not None
        return self.asked is None and time.monotonic() - self.began > ORPHANS

    def result(self) -> int:
        """The exit status of the container."""
        assert self.status is not None
        if self.asked is None:
            return self.status
        print(f"stopped after {time.monotonic() - self.began:.1f} s", file=sys.stderr)
        return 128 + self.asked if self.status else 0
