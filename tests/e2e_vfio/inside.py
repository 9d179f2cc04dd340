"""
Runs in the outer machine, and only there: the steps that were asked for, one after another.

    python -m tests.e2e_vfio.inside STEP,STEP

What a step returns is told as a line of JSON. A step that raises tells its traceback; the next one runs all the same.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from tests.e2e_vfio.rig import MARK, PORT


def refusal(command_line: str) -> str:
    """Return why nothing may be done on a machine with that kernel command line, "" where it may."""
    if any(word.startswith(f"{MARK}=") for word in command_line.split()):
        return ""
    return f"This is not the emulated machine: its kernel's command line has no {MARK}=. Nothing was done."


def main(steps: str) -> int:
    if why := refusal(Path("/proc/cmdline").read_text()):
        print(why, file=sys.stderr)
        return 1
    from tests.e2e_vfio import deaths  # noqa: F401 - its steps are among STEPS then
    from tests.e2e_vfio.steps import STEPS

    port = next(
        port for port in Path("/sys/class/virtio-ports").iterdir() if (port / "name").read_text().strip() == PORT
    )
    told = os.open(f"/dev/{port.name}", os.O_WRONLY)

    def tell(**word: object) -> None:
        os.write(told, json.dumps(word, default=str).encode() + b"\n")

    for name in steps.split(","):
        step = STEPS[name]
        tell(type="begin", step=name, limit_s=step.limit_s)
        started_s = time.monotonic()
        last_words = threading.Timer(step.limit_s * 0.9, _say_who_waits)
        last_words.start()
        try:
            result = step.run()
        except BaseException:  # noqa: BLE001 - whatever it was, the next step has its own chance
            result = {"error": traceback.format_exc()}
        last_words.cancel()
        tell(type="end", step=name, result=result, wall_s=time.monotonic() - started_s)
    return 0


def _say_who_waits() -> None:
    """Let the kernel tell on the serial line who waits in it, and where: the machine is about to be given up."""
    Path("/proc/sysrq-trigger").write_text("9")
    Path("/proc/sysrq-trigger").write_text("w")
    Path("/proc/sysrq-trigger").write_text("l")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
