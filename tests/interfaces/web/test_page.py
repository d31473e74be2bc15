"""The page, looked at and clicked through in a real browser, on a real server with a live flow."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from penstock.control import opened_ledger, project_for
from penstock.ledger import Deployment, DeploymentStatus
from tests.interfaces.user import typed
from tests.interfaces.web.conftest import Served, Visit, visit
from tests.interfaces.web.shop import FLOW, TEXT

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]

VIEWS = {
    "/": "shop",
    f"/flows/{FLOW}": FLOW,
    f"/flows/{FLOW}?step=priced&range=15m": FLOW,
    f"/flows/{FLOW}?range=24h": FLOW,
    "/logs": "Logs",
    "/dashboards": "Dashboards",
    "/alerts": "Alerts",
    "/ledger": "Ledger",
    f"/ledger/{FLOW}/1": "Epoch 1",
    "/why": "Why this row?",
}


def test_the_printed_link_opens_the_page(browser: Browser, served: Served) -> None:
    """The token goes out of the address at once; the cookie is for no script; the link is good once."""
    context, first = visit(browser, served)
    first.page.goto(served.link)
    expect(first.page.get_by_role("link", name=FLOW)).to_be_visible()

    assert first.page.url == f"{served.url}/"
    (cookie,) = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert first.page.evaluate("document.cookie") == ""
    assert first.faults == []
    first.page.get_by_role("button", name=re.compile("Log out")).click()
    expect(first.page.get_by_label("Token")).to_be_visible()
    context.close()
    context, second = visit(browser, served)
    second.page.goto(served.link)
    expect(second.page.get_by_role("alert")).to_contain_text("its link was used before")
    context.close()


def test_something_is_there_before_the_script(browser: Browser, served: Served) -> None:
    """The document says that it opens, whenever its script and the server's first answer come."""
    context, here = visit(browser, served)
    here.page.route("**/assets/*.js", lambda route: route.abort())
    here.page.goto(served.url)
    expect(here.page.get_by_text("Opening Penstock…")).to_be_visible()
    context.close()


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_every_view(browser: Browser, served: Served, phone: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Each shows itself at both sizes, in light and dark, fits the width, has no serious fault, and stays at home."""
    context, here = visit(browser, served, phone=phone, dark=phone)
    here.log_in()
    found: dict[str, list[str]] = {}
    for path, title in VIEWS.items():
        page = here.open(path)
        expect(page.locator("h1").first).to_contain_text(title)
        expect(page.locator("main .loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        found[path] = here.axe()
    assert {path: faults for path, faults in found.items() if faults} == {}
    assert here.faults == []
    context.close()


def test_the_overview_filters_and_groups(ann: Visit) -> None:
    """By what is typed, and it stays in the address."""
    page = ann.open("/")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=FLOW))
    expect(row).to_contain_text("running")
    expect(page.get_by_role("rowgroup").filter(has_text="payments")).to_be_visible()
    page.get_by_role("searchbox", name="Filter flows").fill("nothing")
    expect(page.get_by_text("No flow is called so.")).to_be_visible()
    page.get_by_role("searchbox", name="Filter flows").fill("pay run")
    expect(row).to_be_visible()

    assert "q=pay+run" in page.url
    page.get_by_role("radio", name="Dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_graph_says_what_is_below(ann: Visit) -> None:
    """A step is chosen by click or key; its source is shown, and letters of other steps are not."""
    page = ann.open(f"/flows/{FLOW}")
    expect(page.get_by_role("button", name=re.compile(r"^orders read .*[\d.]+.s"))).to_be_visible()
    page.get_by_role("button", name=re.compile("^paid filter")).press("Enter")
    expect(page.get_by_label("Source of paid")).to_contain_text('pl.col("status") == "paid"')
    expect(page.get_by_text("No row fell at paid.")).to_be_visible()
    page.get_by_role("button", name="Only step paid; show all steps").click()
    expect(page.get_by_label("Source of paid")).to_have_count(0)
    expect(page.get_by_role("group", name=re.compile("^Rows in. orders: between")).first).to_be_visible()
    expect(page.get_by_role("list", name="Versions that led in this time").get_by_role("listitem")).not_to_have_count(0)


def test_each_step_says_where_its_time_went(ann: Visit) -> None:
    """A read reads, a write writes, and the others wait meanwhile; in words on the box and beside its source."""
    page = ann.open(f"/flows/{FLOW}?step=priced")
    for step, deed in (("orders", "reading"), ("priced", "busy"), ("write_paid_orders", "writing")):
        shares = re.compile(rf"^{step} .*{deed} (under 1|\d+) %, blocked (under 1|\d+) %, idle (under 1|\d+) %")
        expect(page.get_by_role("button", name=shares)).to_be_visible()
    expect(page.get_by_text(re.compile("^In the last minute: busy .* %, blocked .* %, idle"))).to_be_visible()
    assert ann.faults == []


def test_a_dead_letter_is_edited_tried_and_replayed(ann: Visit) -> None:
    """First in memory, where its rows are shown and nothing is written; then for good, once, in a later epoch."""
    page = ann.open(f"/flows/{FLOW}")
    letters = page.get_by_role("region", name="Dead letters")
    letters.get_by_role("button", name=re.compile("could not convert string to float")).click()
    row = letters.locator(".letter").first.get_by_role("textbox")
    number = re.search(r"\d+", row.get_attribute("aria-label") or "")
    assert number is not None
    first = letters.locator(".letter").filter(has_text=re.compile(rf"#{number[0]}\b"))
    row = first.get_by_role("textbox")
    row.fill(row.input_value().replace("n/a", "12.50"))
    first.get_by_role("button", name="Try in memory").click()
    expect(first.get_by_role("status")).to_contain_text("It comes out: Nothing was written.")
    expect(first.get_by_role("region", name="Rows for write_paid_orders")).to_contain_text("1250")
    first.get_by_role("button", name="Replay this row").click()
    dialog = page.get_by_role("dialog", name=f"Replay dead letter {number[0]}?")
    expect(dialog).to_contain_text("The row as you edited it goes through the flow")
    dialog.get_by_role("button", name="Replay").click()
    expect(first).to_contain_text("redriven in epoch")

    with opened_ledger(project_for(ann.served.folder).environment("dev")) as ledger:
        (letter,) = [one for one in ledger.dead_letters(FLOW) if one.id == int(number[0])]
        assert letter.status == "redriven"
        assert [one.who for one in ledger.operations.events(FLOW, kind="letters-replayed")] == ["ann"]


def test_a_flow_is_paused_and_resumed(ann: Visit) -> None:
    """Each deed says first what will happen; left alone, nothing does."""
    page = ann.open(f"/flows/{FLOW}")
    page.get_by_role("button", name="Pause", exact=True).click()
    dialog = page.get_by_role("dialog", name=f"Pause {FLOW}?")
    expect(dialog).to_contain_text("takes no more input")
    dialog.get_by_role("button", name="Leave it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("running")
    page.get_by_role("button", name="Pause", exact=True).click()
    dialog.get_by_label("Why").fill("lunch")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
    expect(page.get_by_role("region", name="Who did what")).to_contain_text("lunch")
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("running")


def test_a_deploy_is_approved_by_its_diff_and_then_undone(ann: Visit) -> None:
    """The rows that would differ are there before the cut; the undo shows what it takes back before it does."""
    folder = ann.served.folder
    (folder / "revenue.py").write_text(TEXT.replace("* 21)", "* 19)"))
    answer = typed(folder, "deploy", FLOW, "--detach", "--shadow", "3 epochs", "--watch", "1s", "--why", "19 percent")
    assert answer.code == 0, answer.err
    page = ann.open(f"/flows/{FLOW}")
    _approve(page)
    changes = page.get_by_role("region", name="Changes")
    expect(changes.get_by_role("article", name=re.compile("^deploy")).first).to_contain_text("done", timeout=120_000)
    deploy = _deployments(ann)[0]
    assert deploy.status is DeploymentStatus.DONE
    assert deploy.facts["approval"]["who"] == "ann"
    changes.get_by_role("button", name=re.compile(r"done deploy")).click()
    expect(changes.get_by_label(f"Receipt of {deploy.id}")).to_contain_text("rows lost0")

    page.get_by_label("Take back what was written after").fill(deploy.old_version)
    page.get_by_role("button", name="Show what would happen").click()
    preview = page.get_by_role("region", name="What the undo would do")
    expect(preview).to_contain_text("taken back, and written anew", timeout=90_000)
    preview.get_by_role("button", name=re.compile("^Undo")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Undo")).to_be_disabled()
    dialog.get_by_label("Why").fill("it is 21 after all")
    dialog.get_by_role("button", name="Undo").click()
    expect(changes.get_by_role("article", name=re.compile("^undo")).first).to_contain_text("done", timeout=120_000)

    undo = _deployments(ann)[0]
    assert (undo.kind, undo.status, undo.who) == ("undo", DeploymentStatus.DONE, "ann")
    with opened_ledger(project_for(folder).environment("dev")) as ledger:
        standing = ledger.standing(FLOW)
        assert standing is not None
        assert standing.version == deploy.old_version
        assert ledger.undone_epochs(FLOW) != []
    assert ann.faults == []


def _approve(page: Page) -> None:
    approval = page.get_by_role("region", name="Approval")
    approval.wait_for(timeout=120_000)
    diff = page.get_by_role("article", name="Difference of write_paid_orders")
    expect(diff).to_contain_text("changed")
    expect(diff.get_by_role("region", name="Changed rows of write_paid_orders").locator("ins").first).to_be_visible()
    expect(page.get_by_label("What changed in the code of vat")).to_contain_text("* 19) // 100")
    approval.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("the law says so")
    dialog.get_by_role("button", name="Approve").click()
    expect(approval).to_have_count(0)


def _deployments(here: Visit) -> list[Deployment]:
    with opened_ledger(project_for(here.served.folder).environment("dev")) as ledger:
        return list(ledger.operations.deployments(FLOW))


def test_from_a_row_back_to_its_input(ann: Visit) -> None:
    """Row, epoch, the ranges and rows that were read, and the version."""
    page = ann.open("/why")
    page.get_by_label("Table").select_option("paid_orders")
    page.get_by_label("Where").fill("id = 4")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("region", name="The row")).to_contain_text("NL")
    expect(page.get_by_text("is of this epoch")).to_be_visible()
    rows = page.get_by_role("region", name="Rows of orders")
    expect(rows).to_contain_text("9.50")
    expect(page.get_by_text("of them have the same")).to_contain_text("1 of them have the same id, country")
    page.get_by_role("link", name=re.compile(r"^\d+$")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Epoch")
    expect(page.get_by_role("region", name="The rows it read")).to_contain_text("orders")


def test_a_dashboard_is_made_and_shared(ann: Visit) -> None:
    """It is kept by the server, and its address shows it to somebody else."""
    page = ann.open("/dashboards")
    page.get_by_label("A new dashboard").fill("Money, daily")
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("button", name="Add a panel").click()
    panel = page.get_by_role("region", name="New panel")
    query = panel.get_by_label("Query (DuckDB SQL)")
    query.fill("select country, revenue from revenue_by_country order by revenue desc")
    query.blur()
    expect(panel.get_by_role("region", name="Result of the query")).to_contain_text("NL")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("button", name="Change")).to_be_visible()

    assert page.url.startswith(f"{ann.served.url}/dashboards/money-daily")
    ann.open("/dashboards/money-daily")
    expect(page.get_by_role("heading", name="Money, daily")).to_be_visible()
    expect(page.get_by_role("region", name="Result of the query")).to_contain_text("revenue")
    assert ann.axe() == []


def test_a_rule_says_when_it_would_have_fired(ann: Visit) -> None:
    """What it asks, and its past on an axis and as a list; of logs nobody knows what they were."""
    page = ann.open("/alerts")
    rules = page.get_by_role("region", name="Rules")
    rules.get_by_role("button", name=re.compile("Watchdog")).click()
    expect(rules.get_by_label("What Watchdog asks")).to_be_visible()
    past = rules.get_by_role("region", name="When Watchdog would have fired")
    expect(past).to_contain_text("It would have fired 1 time in the last 7 days.")
    expect(past.get_by_role("listitem")).to_contain_text("still")
    past.get_by_role("radio", name="1h").click()
    expect(past).to_contain_text("It would have fired 1 time in the last hour.")
    expect(past.get_by_role("img", name="Time axis with 1 time at which it would have fired")).to_be_visible()
    rules.get_by_role("button", name=re.compile("ManyErrors")).click()
    expect(rules.get_by_role("article", name="ManyErrors")).to_contain_text("Only metrics are kept as they were")

    assert ann.axe() == []
    assert ann.faults == []


def test_a_viewer_has_no_deeds(browser: Browser, served: Served) -> None:
    """A page without buttons that would be refused; what flows do is all there."""
    made = typed(served.folder, "token", "new", "bob", "--role", "viewer")
    token = re.search(r"pt_\w+", made.out)
    assert token is not None
    context, bob = visit(browser, served)
    bob.log_in(token[0])
    page = bob.open(f"/flows/{FLOW}")
    expect(page.get_by_text("You are a viewer")).to_be_visible()
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(
        page.get_by_role("region", name="Dead letters").get_by_role("button", name=re.compile("Replay"))
    ).to_have_count(0)
    expect(page.get_by_role("group", name=re.compile("^Rows in"))).to_be_visible()

    assert bob.faults == []
    context.close()
