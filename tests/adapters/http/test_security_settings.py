"""Settings of the HTTP edge: closed by default, and what makes no sense is refused without showing it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.applications import Starlette

from plugbus_adapters.http import HttpSettings, server_config
from plugbus_adapters.http._bind import OpenBindError, is_loopback, refuse_open_bind
from plugbus_adapters.http._origins import origin_allowed, parsed_origin
from plugbus_adapters.http._tokens import hash_of

CANARY = "canary-" + "7f3a9" * 8


def test_the_defaults_let_nobody_in() -> None:
    settings = HttpSettings()

    assert (settings.tokens, settings.cors_origins, settings.websocket_origins, settings.accept_encodings) == (
        {},
        (),
        (),
        (),
    )
    assert (settings.trusted_proxies, settings.cors_credentials, settings.secure_cookies) == ((), False, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_body_bytes": 0},
        {"max_body_bytes": -1},
        {"body_seconds": 0},
        {"body_seconds": float("inf")},
        {"head_seconds": float("nan")},
        {"max_json_depth": 201},
        {"cors_origins": ["*"]},
        {"cors_origins": ["null"]},
        {"cors_origins": ["https://*.example"]},
        {"cors_origins": ["https://shop.example/path"]},
        {"websocket_origins": ["shop.example"]},
        {"content_security_policy": "default-src 'self'\r\nset-cookie: x=1"},
        {"accept_encodings": ["br"]},
        {"session_secrets": ["short"]},
        {"tokens": {"ci": {"hash": CANARY}}},
        {"tokens": {"ci": {"hash": hash_of(CANARY), "scope": ["x"]}}},
        {"max_bodybytes": 7},
    ],
    ids=str,
)
def test_what_would_open_it_or_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    """No limit is off, and the value is not in the message, for it may be a secret."""
    with pytest.raises(ValidationError) as caught:
        HttpSettings.model_validate(wrong)

    assert CANARY not in str(caught.value)


def test_secrets_do_not_show() -> None:
    settings = HttpSettings(session_secrets=[CANARY], tokens={"ci": {"hash": hash_of(CANARY)}})  # type: ignore[list-item, dict-item]

    shown = repr(settings) + str(settings) + repr(settings.model_dump()["session_secrets"]) + settings.model_dump_json()

    assert CANARY not in shown
    assert hash_of(CANARY) not in repr(settings)


# ------------------------------------------------------------------------------------------------ origins


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "allowed"),
    [
        (None, "ws", "shop.example", True),
        ("http://shop.example", "ws", "shop.example", True),
        ("http://shop.example:80", "ws", "shop.example", True),
        ("http://shop.example", "ws", "shop.example:80", True),
        ("https://shop.example", "wss", "SHOP.example", True),
        ("http://[::1]:8000", "ws", "[::1]:8000", True),
        ("https://friend.example", "ws", "shop.example", True),
        ("https://friend.example:444", "ws", "shop.example", False),
        ("http://friend.example", "ws", "shop.example", False),
        ("https://shop.example", "ws", "shop.example", True),
        ("http://shop.example", "wss", "shop.example", False),
        ("http://shop.example:81", "ws", "shop.example", False),
        ("http://shop.example.evil.example", "ws", "shop.example", False),
        ("http://evil.example", "ws", "shop.example", False),
        ("http://evil.example/http://shop.example", "ws", "shop.example", False),
        ("http://shop.example@evil.example", "ws", "shop.example", False),
        ("null", "ws", "shop.example", False),
        ("", "ws", "shop.example", False),
        ("http://shop.example", "ws", None, False),
        ("null", "ws", "null", False),
        ("file://", "ws", "", False),
    ],
)
def test_a_page_may_ask_its_own_server_and_those_that_allow_it(origin, scheme, host, allowed) -> None:
    """Host and port, and never from HTTP to HTTPS; a client that is no browser sends none."""
    assert origin_allowed(origin, scheme=scheme, host=host, allowed=("https://friend.example",)) is allowed


@given(st.text(max_size=30))
def test_an_origin_that_was_read_once_stays_as_it_is(text: str) -> None:
    try:
        origin = parsed_origin(text)
    except ValueError:
        return
    assert parsed_origin(origin) == origin


# ------------------------------------------------------------------------------------------------ where to listen

NAMES = {"one": ["127.0.0.1"], "both": ["127.0.0.1", "::1"], "mixed": ["127.0.0.1", "10.0.0.1"], "out": ["10.0.0.1"]}


def resolve(name: str) -> list[str]:
    if name not in NAMES:
        raise OSError(f"no such name: {name}")
    return NAMES[name]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "::ffff:127.0.0.1", "::1%lo", "one", "both"]
)
def test_what_only_this_machine_reaches_is_loopback(host: str) -> None:
    assert is_loopback(host, resolve)


OUTSIDE = [
    "",
    " ",
    "0.0.0.0",
    "::",
    "[::]",
    "::ffff:0.0.0.0",
    "10.0.0.1",
    "fe80::1%eth0",
    "2001:db8::1",
    "mixed",
    "out",
]


@pytest.mark.parametrize("host", [*OUTSIDE, "unknown", "127.0.0.1.evil.example", "\ud800", "a" * 100], ids=ascii)
def test_what_others_reach_or_nobody_can_tell_is_not(host: str) -> None:
    """A name with one address outside counts as outside."""
    assert not is_loopback(host, resolve)


@pytest.mark.parametrize("host", ["0", "127.1"])
def test_numbers_that_the_system_reads_as_addresses_are_read_as_it_does(host: str) -> None:
    """``0`` is every address of the machine, as it is for the socket."""
    assert is_loopback(host) is (host == "127.1")


def test_an_open_server_without_an_authenticator_is_refused() -> None:
    with pytest.raises(OpenBindError, match="plugbus token new") as caught:
        refuse_open_bind("0.0.0.0", authenticated=False)
    assert caught.value.host == "0.0.0.0"

    with pytest.raises(OpenBindError):
        refuse_open_bind(None, authenticated=False)
    refuse_open_bind("0.0.0.0", authenticated=True)
    refuse_open_bind("127.0.0.1", authenticated=False)
    refuse_open_bind(None, authenticated=False, uds="/run/shop.sock")


@pytest.mark.parametrize(("host", "open_to_others"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_socket_that_is_open_already_is_asked_itself(host: str, open_to_others: bool) -> None:
    """Whatever else was said of it; and it is left open."""
    import socket

    with socket.create_server((host, 0)) as listening:
        if open_to_others:
            with pytest.raises(OpenBindError):
                refuse_open_bind("127.0.0.1", authenticated=False, fd=listening.fileno(), uds="/run/shop.sock")
        else:
            refuse_open_bind("0.0.0.0", authenticated=False, fd=listening.fileno())
        assert listening.getsockname()[1]


def test_an_inherited_unix_socket_is_no_way_in_from_outside(tmp_path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        refuse_open_bind("0.0.0.0", authenticated=False, fd=listening.fileno())


def test_a_server_is_configured_for_an_app_of_ours() -> None:
    """Another one has neither limits nor somebody to ask."""
    with pytest.raises(TypeError, match=r"what create_app\(\) returned"):
        server_config(Starlette())
