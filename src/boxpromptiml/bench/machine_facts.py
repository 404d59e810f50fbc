"""The machine that was measured on, so that its figures can be told from another's."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from boxpromptiml import __version__
from boxpromptiml.machine import usable_cores


def machine_facts(versions: dict[str, str]) -> dict[str, Any]:
    """CPU, cores, memory, system, versions.

    Args:
        versions: of the runtimes' packages.
    """
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_gb": _memory(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"boxpromptiml": __version__, **versions},
    }


def load_average() -> float | None:
    """Processes that wanted to run, mean over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
