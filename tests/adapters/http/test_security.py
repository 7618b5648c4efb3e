"""Who asks and whether they may: decided without a web framework."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import threading
import traceback
import tracemalloc
from hmac import compare_digest

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from plugbus import Forbidden, Principal
from plugbus_adapters.http import Access, Authenticator, BearerTokens, Credentials, Unauthenticated, security
from plugbus_adapters.http import _tokens as tokens_module
from plugbus_adapters.http._authenticating import as_authenticator, find_principal
from plugbus_adapters.http._tokens import hash_of, new_token, parsed_hash
from plugbus_adapters.http.credentials import credentials_from

pytestmark = pytest.mark.anyio

CANARY = "canary-" + "7f3a9" * 6
ANN = Principal("ann", ["orders.*"])


def bearer(token: str) -> Credentials:
    return Credentials("bearer", token)


# ------------------------------------------------------------------------------------------------ tokens


async def test_a_token_stands_for_its_principal() -> None:
    """Scopes alone make a principal whose id names the hash, never the token."""
    tokens = BearerTokens({CANARY: ["publish:order.*"], "another-long-token": ANN})

    found = await tokens.authenticate(bearer(CANARY))

    assert found is not None
    assert (found.id, found.scopes) == (f"token:{hash_of(CANARY)[7:15]}", {"publish:order.*"})
    assert await tokens.authenticate(bearer("another-long-token")) == ANN
    assert await tokens.authenticate(bearer("a-third-long-token")) is None


@pytest.mark.parametrize("scheme", ["", "basic", "Bearer", "digest"])
async def test_only_the_scheme_bearer_brings_a_token(scheme: str) -> None:
    assert await BearerTokens({CANARY: []}).authenticate(Credentials(scheme, CANARY)) is None


async def test_hashes_from_the_settings_stand_for_their_tokens() -> None:
    """So that no token stands in a file."""
    token = new_token()
    tokens = BearerTokens.from_hashes({hash_of(token): ANN})

    assert await tokens.authenticate(bearer(token)) == ANN
    assert await tokens.authenticate(bearer(hash_of(token))) is None


async def test_every_token_is_compared_however_early_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaving the loop would tell by the time which token it was; each comparison takes the same time."""
    compared: list[bytes] = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return compare_digest(known, given)

    tokens = BearerTokens({f"a-long-token-no-{number}": ANN for number in range(10)})
    monkeypatch.setattr(security.hmac, "compare_digest", compare)

    await tokens.authenticate(bearer("a-long-token-no-0"))
    first = len(compared)
    await tokens.authenticate(bearer("no-such-token"))

    assert (first, len(compared) - first, len(set(map(len, compared)))) == (10, 10, 1)


@given(st.text(), st.lists(st.text(min_size=16), min_size=1, max_size=4, unique=True))
async def test_what_is_not_a_token_is_nobody(given_text: str, known: list[str]) -> None:
    """Whatever text comes, lone surrogates too, it is the one token that it equals or none."""
    tokens = BearerTokens({token: Principal(hash_of(token)) for token in known})

    found = await tokens.authenticate(bearer(given_text))

    assert found == (Principal(hash_of(given_text)) if given_text in known else None)


@pytest.mark.parametrize("token", ["", "secret", "x" * 15])
def test_a_token_that_can_be_guessed_is_refused(token: str) -> None:
    """SHA-256 keeps a secret only if it cannot be tried out; the error does not show the token."""
    with pytest.raises(ValueError, match="can be guessed") as caught:
        BearerTokens({token: []})

    assert token == "" or token not in str(caught.value)


@pytest.mark.parametrize("text", ["", CANARY, "sha256:", "sha256:" + "g" * 64, "sha256:" + "0" * 63, "0" * 64])
def test_what_is_no_hash_is_refused_and_not_shown(text: str) -> None:
    """Somebody may have put the token itself there."""
    with pytest.raises(ValueError, match="plugbus token new") as caught:
        BearerTokens.from_hashes({text: []})

    assert text == "" or text not in str(caught.value).replace("'sha256:'", "")


def test_text_is_no_list_of_scopes() -> None:
    with pytest.raises(TypeError, match="list of scopes"):
        BearerTokens({CANARY: "publish:order.*"})


def test_tokens_are_not_alike() -> None:
    """256 random bits each, with a prefix that scanners of repositories find, and fit to stand in a header."""
    made = {new_token() for _ in range(100)}

    assert len(made) == 100
    assert all(token.startswith("plugbus_") and len(token) == 51 for token in made)
    assert all(credentials_from([(b"authorization", f"Bearer {token}".encode())]).token == token for token in made)


@given(st.text())
def test_a_hash_is_read_as_it_was_written(token: str) -> None:
    assert parsed_hash(hash_of(token)).hex() == hash_of(token).removeprefix("sha256:")


# ------------------------------------------------------------------------------------------------ what shows


async def test_a_token_shows_nowhere() -> None:
    """Neither in what is printed, nor in what an object holds, nor in a traceback with all variables."""
    tokens = BearerTokens({CANARY: []})
    credentials = credentials_from(
        [(b"authorization", f"Bearer {CANARY}".encode()), (b"cookie", f"sid={CANARY}".encode())], client="10.0.0.1"
    )
    out = io.StringIO()
    log = structlog.wrap_logger(structlog.PrintLogger(out), processors=[structlog.processors.JSONRenderer()])

    def failing(credentials: Credentials) -> Principal | None:
        raise OSError("the directory of users is down")

    log.info("asked", tokens=tokens, credentials=credentials)
    with pytest.raises(OSError) as caught:
        await find_principal([tokens, as_authenticator(failing)], bearer("x" + CANARY[1:]))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = "".join(line for line in shown.format() if "test_security" not in line)

    assert CANARY not in out.getvalue() + repr(tokens) + repr(credentials) + str(vars(Access)) + frames
    assert CANARY.encode() not in pickle.dumps(list(tokens._known))


def test_credentials_are_plain_and_frozen() -> None:
    credentials = Credentials("bearer", CANARY)

    with pytest.raises(AttributeError):
        credentials.token = ""  # type: ignore[misc]
    with pytest.raises(TypeError):
        credentials.headers["x"] = "y"  # type: ignore[index]


# ------------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize(
    ("value", "scheme", "token"),
    [
        (b"Bearer abc", "bearer", "abc"),
        (b"bearer   abc==", "bearer", "abc=="),
        (b"Basic dXNlcjpwYXNz", "basic", "dXNlcjpwYXNz"),
        (b"Bearer", "", ""),
        (b"Bearer a b", "", ""),
        (b"Bearer a,b", "", ""),
        (b"Bearer a\x00b", "", ""),
        (b"Bearer a\r\nX-User: root", "", ""),
        (b"Bearer \xe9", "", ""),
        (b"", "", ""),
    ],
)
def test_an_authorization_is_a_scheme_and_one_token(value: bytes, scheme: str, token: str) -> None:
    """RFC 9110, section 11.4; whatever else it is counts as none."""
    found = credentials_from([(b"Authorization", value)])

    assert (found.scheme, found.token) == (scheme, token)


def test_two_authorizations_are_none() -> None:
    """Which of the two to believe is a guess, and a proxy before us may have guessed otherwise."""
    found = credentials_from([(b"authorization", b"Bearer abc"), (b"Authorization", b"Bearer def")])

    assert (found.scheme, found.token) == ("", "")


def test_cookies_and_headers_are_read() -> None:
    """HTTP/2 splits cookies over several headers."""
    found = credentials_from([(b"cookie", b"a=1; b=x=y"), (b"Cookie", b"c=3"), (b"X-User", b"ann")], client="::1")

    assert dict(found.cookies) == {"a": "1", "b": "x=y", "c": "3"}
    assert (found.headers["x-user"], found.client) == ("ann", "::1")


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50)), max_size=5))
def test_no_header_is_too_odd_to_read(headers: list[tuple[bytes, bytes]]) -> None:
    found = credentials_from(headers)

    assert isinstance(found.token, str)


# ------------------------------------------------------------------------------------------------ decisions


@pytest.mark.parametrize(
    ("auth", "principal", "expected"),
    [
        ("public", None, None),
        ("public", ANN, None),
        ("user", None, Unauthenticated),
        ("user", Principal("nobody-special"), None),
        ("orders.read", None, Unauthenticated),
        ("orders.read", ANN, None),
        (["orders.read", "orders.write"], ANN, None),
        (["orders.read", "stock.write"], ANN, Forbidden),
        (["orders.**"], ANN, Forbidden),
        ("pubilc", ANN, Forbidden),
    ],
)
def test_an_endpoint_demands_what_it_says(auth, principal, expected) -> None:
    """Nobody known is 401, a missing scope is 403; a word that is misspelt is a scope that nobody has."""
    if expected is None:
        Access.of(auth).check(principal)
        return
    with pytest.raises(expected) as caught:
        Access.of(auth).check(principal)
    assert type(pickle.loads(pickle.dumps(caught.value))) is expected


def test_a_demand_that_was_not_made_is_for_a_principal() -> None:
    """Denied unless allowed."""
    with pytest.raises(Unauthenticated):
        Access().check(None)


@pytest.mark.parametrize("auth", ["", [], [""], ["public", "orders.read"], ["user", "orders.read"], ["public", "user"]])
def test_a_demand_with_two_meanings_is_refused(auth) -> None:
    """An empty list might mean nobody or everybody."""
    with pytest.raises(ValueError, match="'public', 'user', or the scopes"):
        Access.of(auth)


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(Forbidden, match=r"scope 'stock\.write'") as caught:
        Access.of(["orders.read", "stock.write"]).check(ANN)

    assert caught.value.code == "insufficient_scope"


@given(
    auth=st.one_of(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=3)),
    scopes=st.lists(st.text("ab.*:", min_size=1, max_size=5), max_size=3),
)
def test_nobody_known_passes_but_where_it_is_public(auth, scopes) -> None:
    """Whatever an endpoint says, without credentials it is open only if it says so in that one word."""
    try:
        access = Access.of(auth)
    except ValueError:
        return

    opened = False
    try:
        access.check(None)
        opened = True
    except Unauthenticated:
        pass

    assert opened is (auth in ("public", ["public"]))


# ------------------------------------------------------------------------------------------------ authenticators


async def test_the_first_who_knows_is_believed() -> None:
    asked: list[str] = []

    async def first(credentials: Credentials) -> Principal | None:
        asked.append("first")
        return None

    def second(credentials: Credentials) -> Principal | None:
        asked.append("second")
        return ANN

    async def third(credentials: Credentials) -> Principal | None:
        asked.append("third")
        return Principal("eve")

    found = await find_principal(map(as_authenticator, (first, second, third)), Credentials())

    assert (found, asked) == (ANN, ["first", "second"])
    assert await find_principal([], Credentials()) is None


async def test_a_plain_function_of_the_host_runs_in_a_worker_thread() -> None:
    """It may look into a database."""
    threads: list[threading.Thread] = []

    def ask(credentials: Credentials) -> Principal | None:
        threads.append(threading.current_thread())
        return None

    class Asks:
        async def __call__(self, credentials: Credentials) -> Principal | None:
            threads.append(threading.current_thread())
            return ANN

    assert await find_principal([as_authenticator(ask), as_authenticator(Asks())], Credentials()) == ANN
    assert [thread is threading.current_thread() for thread in threads] == [False, True]


async def test_an_authenticator_that_fails_lets_nobody_in() -> None:
    """The next one is not asked: what the first would have said, nobody knows."""

    async def down(credentials: Credentials) -> Principal | None:
        raise OSError("the directory of users is down")

    async def anybody(credentials: Credentials) -> Principal | None:
        return ANN

    with pytest.raises(OSError, match="down"):
        await find_principal([as_authenticator(down), as_authenticator(anybody)], Credentials())


@pytest.mark.parametrize("answer", [True, "ann", {"id": "ann"}])
async def test_an_answer_that_is_no_principal_is_an_error(answer: object) -> None:
    """``return True`` means something else than somebody who may nothing."""

    async def careless(credentials: Credentials):
        return answer

    with pytest.raises(TypeError, match="return a Principal, or None"):
        await find_principal([as_authenticator(careless)], Credentials())


@pytest.mark.parametrize("wrong", [BearerTokens, 7, "token"])
def test_what_cannot_authenticate_is_refused_at_once(wrong) -> None:
    with pytest.raises(TypeError):
        as_authenticator(wrong)


def test_an_authenticator_is_one_by_its_shape() -> None:
    assert isinstance(BearerTokens({}), Authenticator)
    assert as_authenticator(tokens := BearerTokens({})) is tokens


# ------------------------------------------------------------------------------------------------ the package


def test_marks_of_the_package_load_without_a_kernel_until_used() -> None:
    """``plugbus --help`` lists ``plugbus token``, and imports no kernel for it; a name that is not there says so."""
    code = (
        "import sys, plugbus_adapters.http as http, plugbus_adapters.http._tokens\n"
        "assert 'plugbus' not in sys.modules and 'starlette' not in sys.modules\n"
        "assert set(dir(http)) == set(http.__all__)\n"
        "assert all(getattr(http, name) is not None for name in http.__all__)\n"
        "assert not hasattr(http, 'nothing')\n"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.binary(max_size=200))
def test_hashes_are_text_of_one_form(raw: bytes) -> None:
    text = raw.decode("latin-1")

    assert json.dumps(hash_of(text)) == f'"{hash_of(text)}"'
    assert tokens_module.digest_of(text) == parsed_hash(hash_of(text))


def test_a_thousand_tokens_take_no_memory_for_each_look_up() -> None:
    """A look-up by somebody without credentials must cost little."""
    tokens = BearerTokens.from_hashes({f"sha256:{number:064x}": ANN for number in range(1000)})
    looking = tokens.authenticate(bearer("x" * 64))

    tracemalloc.start()
    try:
        with pytest.raises(StopIteration):
            looking.send(None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 10_000
