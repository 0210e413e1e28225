"""The shell of the page in a browser: parts, address, theme, what goes wrong."""

from __future__ import annotations

import re

import pytest

from chainrule.app import server
from chainrule.digits import recipes

from conftest import Running  # isort: skip


def test_a_panel_opens(open_page):
    page = open_page("draw")
    assert page.title() == "Draw a digit · chainrule play"
    page.get_by_role("link", name="The equations").click()
    page.locator(".panel-equations[data-open]").wait_for(state="attached")
    assert page.evaluate("() => location.hash").startswith("#equations")
    assert page.get_by_role("link", name="The equations").get_attribute("aria-current") == "page"
    assert not page.locator(".panel-draw").is_visible()


@pytest.mark.parametrize("fragment", ["nothing", "?", "nothing?x=1", "draw?%zz", "__proto__"])
def test_an_address_of_no_panel_leads_to_the_first(open_page, fragment):
    assert open_page(fragment).title() == "Draw a digit · chainrule play"


def test_the_theme_is_the_systems_until_it_is_chosen(open_page):
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light, dark = (open_page(theme=theme).evaluate(ground) for theme in ("light", "dark"))
    assert light != dark
    page = open_page(theme="light")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark  # it is remembered
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(ground) == light


def test_a_link_to_what_is_set_is_copied(open_page):
    image = "q" * 8 + "a" * 56
    page = open_page(f"draw?pixels={image}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy a link").click()
    page.get_by_text("Link copied").wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.endswith(f"/#draw?pixels={image}")


def test_all_of_the_page_is_small_and_names_nothing_elsewhere():
    files = [path for path in server.STATIC.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    for path in files:
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert found <= {"http://www.w3.org"}, path.name  # the namespace of SVG


def test_what_goes_wrong_is_said_on_the_page(browser, monkeypatch):
    def fails():
        raise OSError("the digits cannot be read")

    monkeypatch.setattr(recipes, "load", fails)
    other = Running()
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(other.address)
        alert = page.get_by_role("alert")
        alert.get_by_text("there is no network to read digits: OSError: the digits").wait_for()
        page.get_by_role("link", name="The equations").click()
        alert.get_by_text("there is no network to read digits").wait_for()
    finally:
        context.close()
        other.stop()
