"""The shell of the page in a browser."""

from __future__ import annotations


def test_a_panel_opens(open_page):
    page = open_page("draw")
    assert page.title() == "Draw a digit · chainrule play"
    page.get_by_role("link", name="The equations").click()
    page.locator(".panel-equations[data-open]").wait_for(state="attached")
    assert page.evaluate("() => location.hash").startswith("#equations")
