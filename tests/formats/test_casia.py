from __future__ import annotations

import pytest

from boxpromptiml.formats.casia import casia_kind, casia_sources


@pytest.mark.parametrize(
    ("name", "sources", "kind"),
    [
        ("Sp_D_CND_A_sec0056_sec0015_0282.jpg", ["sec0015", "sec0056"], "splice"),
        ("../casia/Tp/Sp_S_NNN_C_txt0008_txt0008_0008.jpg", ["txt0008"], "copy-move"),
        ("Sp_D_NNN_A_ani0078_ani0075.0545.jpg", ["ani0075", "ani0078"], "splice"),  # as CASIA has it
        ("Au_ani_0001.jpg", ["ani0001"], None),
        ("Au/Au_cha_0012.JPG", ["cha0012"], None),
        ("Tp_D_CND_M_N_ani00018_sec00096_00138.tif", ["ani00018", "sec00096"], "splice"),
        ("Tp_S_NRN_S_N_ind00023_ind00023_00001.jpg", ["ind00023"], "copy-move"),
        ("Au_ani_00018.jpg", ["ani00018"], None),
        ("Au_ani_0001_jpg.rf.0123456789abcdef0123456789abcdef.jpg", ["ani0001"], None),  # by way of Roboflow
        ("Sp_D/photo.jpg", [], None),
        ("canong3_02_sub_01.tif", [], None),
        ("Au_scene_0001.jpg", [], None),
    ],
)
def test_names(name: str, sources: list[str], kind: str | None) -> None:
    assert casia_sources(name) == sources
    assert casia_kind(name) == kind
