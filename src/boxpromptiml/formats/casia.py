"""What CASIA's file names say (Dong, Wang, Tan: CASIA image tampering detection evaluation database, 2013).

`Sp_D_CND_A_sec0056_sec0015_0282.jpg` (version 1) and `Tp_D_CND_M_N_ani00018_sec00096_00138.tif` (version 2): the letter
D for parts of two photographs, S for one, then codes of the editing, the two source photographs and a running number.
`Au_ani_0001.jpg` is the source photograph ani0001 itself.
"""

from __future__ import annotations

import re

_CATEGORY = "ani|arc|art|cha|ind|nat|pla|sec|txt"
_FORGERY = re.compile(rf"(?:sp|tp)_([ds])_\w+?_({_CATEGORY})(\d{{4,5}})_({_CATEGORY})(\d{{4,5}})[_.]", re.IGNORECASE)
_AUTHENTIC = re.compile(rf"au_({_CATEGORY})_(\d{{4,5}})[_.]", re.IGNORECASE)


def casia_sources(name: str) -> list[str]:
    """Ids of the source photographs of a CASIA file, such as ``["sec0056", "sec0015"]``; empty for other names."""
    file = name.rsplit("/", 1)[-1]
    if forgery := _FORGERY.match(file):
        ids = {forgery[2] + forgery[3], forgery[4] + forgery[5]}
    elif authentic := _AUTHENTIC.match(file):
        ids = {authentic[1] + authentic[2]}
    else:
        return []
    return sorted(source.lower() for source in ids)


def casia_kind(name: str) -> str | None:
    """``splice`` or ``copy-move`` for a forgery of CASIA, None for other names."""
    forgery = _FORGERY.match(name.rsplit("/", 1)[-1])
    if forgery is None:
        return None
    return "splice" if forgery[1] in "dD" else "copy-move"
