"""The report's tables."""

import io

from rich.console import Console

from dtj_demo.report import summary, tables

ROW = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1234}
REPORT = {
    "test": {
        "strict": {"description": "the strict one", **ROW, "byType": {"PER": ROW}},
        "default": {"description": "the default one", **ROW, "byType": {"PER": ROW}},
    },
    "training": {
        "steps": 1500,
        "seconds": 61.2,
        "tokensPerSecond": 2000.4,
        "worldSizes": [{"fromStep": 0, "ranks": 3}, {"fromStep": 40, "ranks": 2}],
    },
}


def test_both_modes_are_named_with_their_figures():
    page = io.StringIO()
    Console(file=page, width=100).print(*tables(REPORT))
    text = page.getvalue()
    assert text.index("the strict one") < text.index("the default one")
    assert text.count("0.3333") == 4
    assert "1,234" in text


def test_the_summary_names_each_world_size():
    assert summary(REPORT) == "1,500 steps in 61 s, 2,000 tokens/s; 3 ranks from step 0, 2 ranks from step 40"
