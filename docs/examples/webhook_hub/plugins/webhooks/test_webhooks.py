"""The webhooks alone: who is let in, what becomes of a delivery, and that each is taken once."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from plugins.intake import Intake
from plugins.webhooks import Webhooks
from plugins.webhooks.once import Once
from plugins.webhooks.signature import signature_of

from plugbus import Kernel, NamedEvent, Veto, current
from plugbus.testing import PluginConformance, capture
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio

SIGNED_WITH = "not-known-to-others"
OPENED = {
    "action": "opened",
    "issue": {"number": 1, "title": "Valve leaks"},
    "repository": {"full_name": "acme/rocket"},
    "sender": {"login": "mira-okon"},
}


def hub(secret: str | None = SIGNED_WITH, **settings: Any) -> Kernel:
    return Kernel(plugins=[Intake, Webhooks], config={"plugins": {"webhooks": {"secret": secret, **settings}}})


async def send(http: Any, payload: Any, event: str = "issues", delivery: str = "d-1", **headers: str) -> Any:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = {"x-hub-signature-256": signature_of(SIGNED_WITH, body), "content-type": "application/json"}
    given = {"x-github-event": event, "x-github-delivery": delivery, **signed, **headers}
    return await http.post("/webhooks/github", content=body, headers={k: v for k, v in given.items() if v})


async def test_a_signed_delivery_becomes_an_event() -> None:
    """It is accepted, and the answer says as what; the id of the delivery goes along as the correlation id."""
    kernel, seen = hub(), []
    async with client(kernel) as http:
        kernel.bus.observe("github.**", lambda _: seen.append(current()), run_in="caller")
        with capture(kernel.bus, "github.**") as heard:
            answer = await send(http, OPENED)

    assert (answer.status_code, answer.json()) == (
        202,
        {"delivery": "d-1", "name": "github.issues.opened", "typed": True, "repeated": False},
    )
    assert [event.number for event in heard] == [1]
    assert (seen[0].correlation_id, seen[0].principal.id) == ("d-1", "github")


async def test_an_unknown_kind_is_carried_as_a_named_event() -> None:
    """Nothing is dropped because the hub has no type for it."""
    kernel = hub()
    async with client(kernel) as http:
        with capture(kernel.bus, "github.**") as heard:
            answer = await send(http, {"action": "aborted", "pad": 9}, event="moon_landing")

    assert (answer.status_code, answer.json()["typed"]) == (202, False)
    assert heard == [NamedEvent("github.moon_landing.aborted", {"action": "aborted", "pad": 9})]


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=" + 64 * "0",
        "sha1=0123",
        signature_of("another-secret-altogether", json.dumps(OPENED).encode()),
        "sha256=" + 64 * "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ],
    ids=["none", "wrong", "old", "another secret", "not ASCII"],
)
async def test_who_does_not_sign_is_not_let_in(signature: str) -> None:
    """401 with a challenge, and nothing is emitted."""
    kernel = hub()
    async with client(kernel) as http:
        with capture(kernel.bus, "github.**") as heard:
            answer = await send(http, OPENED, **{"x-hub-signature-256": signature.encode("latin-1")})

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Webhook header="X-Hub-Signature-256"')
    assert heard == []


async def test_the_signature_is_of_the_bytes_that_came() -> None:
    """One byte more than was signed is not the same body, even where the JSON says the same."""
    async with client(hub()) as http:
        body = json.dumps(OPENED).encode()
        answer = await send(http, body + b" ", **{"x-hub-signature-256": signature_of(SIGNED_WITH, body)})

    assert answer.status_code == 401


async def test_without_a_secret_nobody_is_let_in() -> None:
    """Denied unless allowed: a hub that cannot check takes nothing."""
    async with client(hub(secret=None)) as http:
        assert (await send(http, OPENED)).status_code == 503


@pytest.mark.parametrize(
    ("payload", "headers", "where"),
    [
        (b"{", {}, ["body"]),
        (b"\xff\xfe", {}, ["body"]),
        (b"[" * 100_000, {}, ["body"]),
        (b'{"n": NaN}', {}, ["body"]),
        (["opened"], {}, ["payload"]),
        ({**OPENED, "issue": {"number": "x", "title": "y"}}, {}, ["issue.number"]),
        (OPENED, {"event": "Issues!"}, ["event"]),
        (OPENED, {"event": ""}, ["header.X-GitHub-Event"]),
        (OPENED, {"delivery": ""}, ["header.X-GitHub-Delivery"]),
        (OPENED, {"delivery": "x" * 65}, ["header.X-GitHub-Delivery"]),
    ],
    ids=["cut", "binary", "deep", "NaN", "list", "field", "kind", "no kind", "no id", "long id"],
)
async def test_a_malformed_delivery_is_told_what_is_wrong(payload: Any, headers: dict[str, str], where: list) -> None:
    """422 and each point, however it is broken."""
    async with client(hub()) as http:
        answer = await send(http, payload, **headers)

    assert (answer.status_code, [each["where"] for each in answer.json()["problems"]]) == (422, where)


async def test_a_delivery_that_comes_again_is_answered_as_before() -> None:
    """GitHub repeats one when somebody asks it to; its event happened once."""
    kernel = hub()
    async with client(kernel) as http:
        with capture(kernel.bus, "github.**") as heard:
            first, again = await send(http, OPENED), await send(http, OPENED)
            other = await send(http, OPENED, delivery="d-2")

    assert [each.json()["repeated"] for each in (first, again, other)] == [False, True, False]
    assert [each.status_code for each in (first, again, other)] == [202, 202, 202]
    assert len(heard) == 2


async def test_a_delivery_that_was_refused_may_come_again() -> None:
    """Somebody changed the rules meanwhile: what was not accepted is not remembered."""
    kernel = hub()

    async def forbid(_event: object, _next_fn: object) -> object:
        raise Veto("not today")

    async with client(kernel) as http:
        with kernel.bus.listen("github.**", forbid):
            refused = await send(http, OPENED)
        accepted = await send(http, OPENED)

    assert (refused.status_code, refused.json()["detail"]) == (403, "not today")
    assert (accepted.status_code, accepted.json()["repeated"]) == (202, False)


async def test_the_same_id_at_once_runs_once() -> None:
    """Who comes while the first is under way waits for it."""
    once: Once[int] = Once(10)
    runs, results = [], []

    async def work() -> int:
        runs.append(1)
        await checkpoint()
        return len(runs)

    async def ask() -> None:
        results.append(await once.run("d", work))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)

    assert sorted(results) == [(1, False), *[(1, True)] * 4]


async def test_only_the_newest_are_remembered() -> None:
    """Memory is bounded; what was forgotten runs again."""
    once: Once[str] = Once(2)

    async def work() -> str:
        return "done"

    for each in ("a", "b", "c"):
        await once.run(each, work)

    assert [(await once.run(each, work))[1] for each in ("c", "b", "a")] == [True, True, False]


async def test_the_secret_is_never_shown() -> None:
    """Neither in the settings, nor in what is told of a wrong one."""
    async with client(hub()) as http:
        told = (await send(http, OPENED, **{"x-hub-signature-256": "sha256=0"})).text

    assert SIGNED_WITH not in told + repr(Webhooks.Settings(secret=SIGNED_WITH))


class TestWebhooksConform(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Webhooks
    needs: ClassVar = ["plugins.intake:Intake"]
    config: ClassVar = {"secret": SIGNED_WITH}
