"""Captions and what was left out, judged: a doubt for each thing that a viewer may miss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from encoderd.encode.accounting import judge_captions, judge_left_out
from encoderd.encode.media import CaptionInfo, LeftOut
from encoderd.findings import Verdict
from tests.unit.test_verify import PLAN, facts, output

TELETEXT = CaptionInfo(index=5, pid=0x130, codec="dvb_teletext", language="deu")


def told(packets: int, taken: int, *notes: str) -> dict[str, Any]:
    """What is known of the file beside the output."""
    stream = {"pid": 0x130, "codec": "dvb_teletext", "language": "deu", "packets": packets, "taken": taken}
    return {"ending": "ts" if packets else "", "streams": [stream], "notes": list(notes)}


@pytest.mark.parametrize(
    ("beside", "sent", "verdict", "said"),
    [
        (told(9, 9), {0x130}, Verdict.PASS, "1 in a file beside it"),
        (told(0, 0), set(), Verdict.PASS, "of 1 that were announced none came"),
        (told(0, 0), {0x130}, Verdict.WARN, "FFmpeg read nothing of dvb_teletext (PID 0x130)"),
        (told(7, 9, "2 captions could not be written"), {0x130}, Verdict.WARN, "7 of 9 packets of dvb_teletext"),
        (told(0, 9, "the captions could not be kept: full"), {0x130}, Verdict.WARN, "could not be kept: full"),
    ],
)
def test_captions_beside(beside: dict[str, Any], sent: set[int], verdict: Verdict, said: str) -> None:
    finding = judge_captions(replace(PLAN, beside=(TELETEXT,)), facts(), output(), beside, sent)

    assert verdict == finding.verdict
    assert said in finding.evidence


def test_what_was_left_out() -> None:
    """All of it is named; only what matters is a doubt."""
    carousel = LeftOut(what="carousel", reason="for receivers", matters=False)
    data = LeftOut(what="KLV", reason="no place", matters=True)
    findings = [judge_left_out(replace(PLAN, left_out=left)) for left in ((), (carousel,), (carousel, data))]

    assert [Verdict.PASS, Verdict.PASS, Verdict.WARN] == [finding.verdict for finding in findings]
    assert ["nothing", "no content; carousel", "KLV: no place"] == [finding.evidence for finding in findings]
