"""How a program of ours starts and ends: one line and exit code 2 for a user's mistake, quiet in a closed pipe.

Both command lines, `nasbench-sim` and `gpu-validation`, go through `run_program`.
"""

from __future__ import annotations

import errno
import os
import sys

import typer

from nasbench_sim.errors import UserError

INTERRUPTED = 130
LONGEST = 1000  # characters of a message; whoever pastes a file as an argument needs not see all of it again
_FULL = (errno.ENOSPC, errno.EDQUOT)

# typer brings its own copy of click or uses the installed one, by version; the public name is the same
_USAGE: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def run_program(app: typer.Typer, name: str, *, interrupted: str = "interrupted") -> None:
    """Run a command line and exit: 0, 2 with one line on stderr for a user's mistake, 130 when interrupted.

    `interrupted` is what is said after Ctrl-C. Anything unforeseen is ours: a traceback and exit code 1.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal's encoding lacks is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    code: object = 0
    try:
        code = app(prog_name=name, standalone_mode=False)
        if sys.stdout is not None:  # None: started with a closed standard output
            sys.stdout.flush()
    except UserError as error:
        _quit(name, str(error), 2)
    except _USAGE as error:
        _quit(name, _usage(error, name), 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (SystemExit, BrokenPipeError) as error:
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _hush()  # the reader of the pipe went away (| head): nothing to report
    except OSError as error:
        if error.filename is not None:  # a name that the system does not take, a folder that may not be read
            _quit(name, f"{error.filename}: {error.strerror}; choose another file or folder", 2)
        if error.errno not in _FULL:
            raise
        _hush()  # files of ours report a full disk themselves: this is the standard output
        _quit(name, f"cannot write the output: {error.strerror}; free some space or send it elsewhere", 2)
    except MemoryError as error:
        _quit(name, f"not enough memory ({error}); ask for fewer --seeds, or for fewer samples of the method", 2)
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code
        _quit(name, interrupted, INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _quit(name: str, message: str, code: int) -> None:
    """One line on stderr, without what could steer a terminal, and the end."""
    line = " ".join(message.split())
    if line:  # a bare `nasbench-sim tables` has shown its help already
        line = line if len(line) <= LONGEST else f"{line[: LONGEST - 200]} ... {line[-200:]}"
        safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        print(f"{name}: {safe}", file=sys.stderr)
    sys.exit(code)


def _usage(error: Exception, name: str) -> str:
    """What the parser of the command line found wrong, and where the command is explained."""
    message = str(error.format_message()).strip().removesuffix(".")  # type: ignore[attr-defined]
    command = getattr(getattr(error, "ctx", None), "command_path", name)
    return f"{message}; see `{command} --help`" if message else ""


def _hush() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush at exit has nothing to complain of."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
