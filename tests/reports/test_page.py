import re
import sys

import pytest

from reports import page
from reports.run_report import report_after
from tests.reports.run_folders import make_run

WITHOUT_EXTRA = "a page needs jinja2 and plotly: pip install 'one-for-all[report]'"


@pytest.fixture(params=["jinja2", "plotly.offline"])
def without_extra(request, monkeypatch):
    monkeypatch.setitem(sys.modules, request.param, None)
    page._environment.cache_clear()


def test_a_page_without_the_extra_says_how_to_get_it(without_extra):
    with pytest.raises(ValueError, match=re.escape(WITHOUT_EXTRA)):
        page.render("report.html")


def test_a_run_without_the_extra_goes_on_and_says_so_in_one_line(without_extra, tmp_path, capsys):
    folder = make_run(tmp_path)
    report_after(folder)
    assert capsys.readouterr().out == f"no report: {WITHOUT_EXTRA}\n"
    assert not (folder / "report.html").exists()
