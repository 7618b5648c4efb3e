"""CloudEvents in and out: strict about what comes in, and one with itself and with the official SDK."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings import http as sdk
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from plugbus import LoggedEvent
from plugbus_adapters.cloudevents import (
    CloudEvent,
    CloudEventError,
    from_batch,
    from_binary,
    from_http,
    from_structured,
    logged_to_json,
    to_batch,
    to_binary,
    to_structured,
)

TIME = datetime(2026, 1, 31, 12, 30, 15, 250000, tzinfo=UTC)
GOOD = {"specversion": "1.0", "type": "order.placed", "source": "/shop", "id": "7"}
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
FULL = CloudEvent(
    type="order.placed", source="https://shop.example/berlin?x=1#y", id="ä-7 %41", data={"order_id": 1, "note": "ü"},
    subject='berlin € "quoted"', time=TIME, datacontenttype="application/json",
    dataschema="https://shop.example/schema", extensions={"correlationid": "c-1", "traceparent": TRACE},
)  # fmt: skip


def where(error: CloudEventError) -> list[str]:
    return [problem.where for problem in error.problems]


# ------------------------------------------------------------------------------------------------ laws

texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20)
segments = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=".*"), min_size=1, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
uris = st.from_regex(r"[a-z0-9/:?#=&%._~-]{1,30}", fullmatch=True)
times = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC) | st.just(timezone(timedelta(hours=5, minutes=30))),
)
names = st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True).filter(
    lambda name: name not in {"id", "source", "type", "subject", "time", "data", "specversion"}
)


def cloud_events(data: st.SearchStrategy[Any], extensions: st.SearchStrategy[Any]) -> st.SearchStrategy[CloudEvent]:
    return st.builds(
        CloudEvent,
        type=st.lists(segments, min_size=1, max_size=3).map(".".join),
        source=uris, id=texts, data=data, subject=st.none() | texts, time=st.none() | times,
        datacontenttype=st.none() | st.sampled_from(["application/json", "application/problem+json; charset=utf-8"]),
        dataschema=st.none() | uris, extensions=st.dictionaries(names, extensions, max_size=3),
    )  # fmt: skip


@settings(max_examples=50)
@given(cloud_events(json_values | st.binary(), texts | st.integers(-(2**31), 2**31 - 1) | st.booleans()))
def test_what_goes_out_as_json_comes_back(event: CloudEvent) -> None:
    assert from_structured(to_structured(event)) == event
    assert from_batch(to_batch([event, event])) == [event, event]


@settings(max_examples=50)
@given(cloud_events(json_values, texts))
def test_what_goes_out_in_headers_comes_back(event: CloudEvent) -> None:
    """But for the media type that JSON has anyway, and for empty data: a body says nothing of it."""
    headers, body = to_binary(event)
    back = from_http(headers, body)

    expected = "application/json" if event.data is not None else None
    assert [found.data for found in back] == [event.data]
    assert all(value.isascii() and value.isprintable() for _, value in headers)
    assert [
        (found.type, found.source, found.id, found.subject, found.time, found.dataschema, dict(found.extensions))
        for found in back
    ] == [(event.type, event.source, event.id, event.subject, event.time, event.dataschema, dict(event.extensions))]
    assert back[0].datacontenttype == (event.datacontenttype or expected)


@settings(max_examples=50)
@given(cloud_events(st.dictionaries(st.text(), json_values, max_size=3), texts))
def test_the_official_sdk_reads_what_we_write_and_we_read_what_it_writes(event: CloudEvent) -> None:
    """In both modes; it is the oracle, because it was not written here. It gives a time to what has none."""
    event = replace(event, time=event.time or TIME)
    structured = sdk.HTTPMessage({"content-type": "application/cloudevents+json"}, to_structured(event))
    headers, body = to_binary(event)
    theirs = [sdk.from_structured_event(structured), sdk.from_binary_event(sdk.HTTPMessage(dict(headers), body))]

    for found in theirs:
        assert (found.get_type(), found.get_source(), found.get_id()) == (event.type, event.source, event.id)
        assert (found.get_subject(), found.get_time()) == (event.subject, event.time)
        assert {name: found.get_extension(name) for name in event.extensions} == dict(event.extensions)
        assert found.get_data() == event.data
        for message in (sdk.to_structured_event(found), sdk.to_binary_event(found)):
            [back] = from_http(message.headers.items(), message.body)
            assert (back.id, back.subject, back.time, back.data) == (event.id, event.subject, event.time, event.data)
            assert dict(back.extensions) == dict(event.extensions)


@settings(max_examples=50)
@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | json_values.map(lambda value: json.dumps(value).encode())
)
def test_whatever_comes_in_is_an_event_or_an_error_that_says_why(body: bytes) -> None:
    for media_type in ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json"):
        headers = [("content-type", media_type), *((f"ce-{name}", value) for name, value in GOOD.items())]
        with suppress(CloudEventError):
            assert all(isinstance(event, CloudEvent) for event in from_http(headers, body))


# ------------------------------------------------------------------------------------------------ examples


def test_an_event_of_the_sdk_arrives_with_all_its_attributes() -> None:
    event = SdkEvent(
        {"type": "order.placed", "source": "/shop", "id": "7", "time": TIME, "subject": "berlin €",
         "correlationid": "c-1", "traceparent": TRACE},
        {"order_id": 1},
    )  # fmt: skip
    for message in (sdk.to_binary_event(event), sdk.to_structured_event(event)):
        [found] = from_http(message.headers.items(), message.body)

        assert (found.type, found.source, found.id, found.time) == ("order.placed", "/shop", "7", TIME)
        assert (found.subject, found.correlation_id, found.traceparent) == ("berlin €", "c-1", TRACE)
        assert found.data == {"order_id": 1}


def test_headers_hold_no_more_than_printable_ascii() -> None:
    headers, _ = to_binary(FULL)

    assert dict(headers)["ce-subject"] == "berlin%20%E2%82%AC%20%22quoted%22"
    assert dict(headers)["ce-id"] == "%C3%A4-7%20%2541"


def test_quoted_headers_are_unquoted_once_and_then_decoded_once() -> None:
    headers = [(f"ce-{name}", value) for name, value in {**GOOD, "subject": '"a \\"b\\" %2541"'}.items()]

    assert from_binary(headers, b"").subject == 'a "b" %41'


def test_data_is_what_its_media_type_says() -> None:
    headers = [(f"ce-{name}", value) for name, value in GOOD.items()]

    for media_type, body, data in [
        ("application/json", b"[1]", [1]),
        ("application/vnd.shop+json; charset=utf-8", b'{"a":1}', {"a": 1}),
        ("text/plain", "Grüße".encode(), "Grüße"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
        ("application/json", b"", None),
    ]:
        assert from_binary([*headers, ("Content-Type", media_type)], body).data == data


def test_bytes_travel_in_json_as_base64() -> None:
    event = CloudEvent(type="a", source="/", id="1", data=b"\x00\xff", datacontenttype="image/png")

    assert json.loads(to_structured(event))["data_base64"] == "AP8="
    assert from_structured(to_structured(event)) == event


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"specversion": "0.3"}, ["specversion"]),
        ({"specversion": 1.0}, ["specversion"]),
        ({"id": ""}, ["id"]),
        ({"id": 7}, ["id"]),
        ({"id": None}, ["id"]),
        ({"source": ""}, ["source"]),
        ({"source": "/a b"}, ["source"]),
        ({"id": "a\r\nSet-Cookie: x"}, ["id"]),
        ({"subject": "a\x00b"}, ["subject"]),
        ({"subject": ""}, ["subject"]),
        ({"subject": "\x85"}, ["subject"]),
        ({"subject": "\ufffe"}, ["subject"]),
        ({"subject": "\U0001ffff"}, ["subject"]),
        ({"type": "order.*"}, ["type"]),
        ({"type": "order placed"}, ["type"]),
        ({"type": ".order"}, ["type"]),
        ({"type": "order\n"}, ["type", "type"]),
        ({"type": "a" * 5000}, ["type"]),
        ({"time": "yesterday"}, ["time"]),
        ({"time": "2026-01-31"}, ["time"]),
        ({"time": "2026-01-31T12:00:00"}, ["time"]),
        ({"time": "2026-02-30T12:00:00Z"}, ["time"]),
        ({"time": 5}, ["time"]),
        ({"datacontenttype": "json"}, ["datacontenttype"]),
        ({"dataschema": "a b"}, ["dataschema"]),
        ({"Upper": "x"}, ["'Upper'"]),
        ({"with-dash": "x"}, ["'with-dash'"]),
        ({"line\n": "x"}, ["'line\\n'"]),
        ({"": "x"}, ["''"]),
        ({"ext": 1.5}, ["ext"]),
        ({"ext": {"a": 1}}, ["ext"]),
        ({"ext": 2**31}, ["ext"]),
        ({"ext": "a\nb"}, ["ext"]),
        ({"data_base64": "!!"}, ["data_base64"]),
        ({"data_base64": 5}, ["data_base64"]),
        ({"data": 1, "data_base64": "AA=="}, ["data_base64"]),
        ({"id": "", "time": "2026-01-31T12:00:00Z", "ext": []}, ["id", "ext"]),
    ],
)
def test_what_the_specification_forbids_is_refused(change: dict[str, Any], wrong: list[str]) -> None:
    """All that is wrong at once, each with its attribute."""
    with pytest.raises(CloudEventError) as caught:
        from_structured(json.dumps({**GOOD, **change}))

    assert where(caught.value) == wrong


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_what_is_required_must_be_there(name: str) -> None:
    given = {key: value for key, value in GOOD.items() if key != name}

    with pytest.raises(CloudEventError) as caught:
        from_structured(json.dumps(given))
    with pytest.raises(CloudEventError):
        from_binary([(f"ce-{key}", value) for key, value in given.items()], b"")
    assert where(caught.value) == [name]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"5", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a": ' * 100_000, b"1" * 10_000, b'"\\ud800"'],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(CloudEventError):
        from_structured(body)


def test_a_null_attribute_is_none_at_all() -> None:
    assert from_structured(json.dumps({**GOOD, "subject": None, "ext": None})) == CloudEvent(
        type="order.placed", source="/shop", id="7"
    )


def test_an_attribute_that_stands_twice_is_refused() -> None:
    headers = [(f"ce-{name}", value) for name, value in GOOD.items()]

    with pytest.raises(CloudEventError) as caught:
        from_binary([*headers, ("CE-Id", "8")], b"")
    assert where(caught.value) == ["id"]


@pytest.mark.parametrize(("header", "value"), [("ce-id", "%ff"), ("ce-id", "a%0d%0ab"), ("ce-sub-ject", "x")])
def test_headers_are_checked_once_decoded(header: str, value: str) -> None:
    headers = {**{f"ce-{name}": given for name, given in GOOD.items()}, header: value}

    with pytest.raises(CloudEventError):
        from_binary(headers.items(), b"")


def test_a_header_named_like_our_own_attribute_is_no_content_type() -> None:
    headers = [*((f"ce-{name}", value) for name, value in GOOD.items()), ("datacontenttype", "x")]

    assert from_binary(headers, b"").datacontenttype is None


def test_json_that_is_none_is_refused_where_the_sdk_takes_it_for_text() -> None:
    headers = [*((f"ce-{name}", value) for name, value in GOOD.items()), ("content-type", "application/json")]

    with pytest.raises(CloudEventError) as caught:
        from_binary(headers, b'{"order_id": ')
    assert where(caught.value) == ["body"]


def test_each_event_of_a_batch_says_what_is_wrong_with_it() -> None:
    batch = [GOOD, {**GOOD, "id": ""}, 5, {**GOOD, "time": "x"}]

    with pytest.raises(CloudEventError) as caught:
        from_http([("content-type", "application/cloudevents-batch+json")], json.dumps(batch).encode())

    assert where(caught.value) == ["[1].id", "[2].body", "[3].time"]


def test_a_batch_is_bounded() -> None:
    with pytest.raises(CloudEventError, match="at most 2"):
        from_batch(json.dumps([GOOD] * 3), max_events=2)


def test_other_formats_of_cloudevents_are_refused() -> None:
    """Taken for data, an event in Protobuf would be told to nobody's understanding."""
    with pytest.raises(CloudEventError) as caught:
        from_http([("content-type", "application/cloudevents+protobuf")], b"")
    assert where(caught.value) == ["content-type"]


def test_what_no_json_can_tell_is_refused_on_the_way_out() -> None:
    event = CloudEvent(type="a", source="/", id="1", data=object())

    for tell in (to_structured, to_binary):
        with pytest.raises(CloudEventError) as caught:
            tell(event)
        assert where(caught.value) == ["data"]


@pytest.mark.parametrize("trace", ["", "nonsense", "ff" + TRACE[2:], TRACE.upper(), f"00-{'0' * 32}-{'b' * 16}-01"])
def test_a_trace_context_that_is_none_is_left_out(trace: str) -> None:
    event = CloudEvent(type="a", source="/", id="1", extensions={"traceparent": trace})

    assert event.traceparent is None


def test_an_event_is_frozen() -> None:
    extensions = {"ext": "a"}
    event = CloudEvent(type="a", source="/", id="1", extensions=extensions)
    extensions["ext"] = "a\r\n"

    assert event.extensions["ext"] == "a"
    with pytest.raises(TypeError):
        event.extensions["ext"] = "b"
    assert len({event, event}) == 1


# ------------------------------------------------------------------------------------------------ events of a log


def test_an_event_of_a_log_is_told_with_all_that_is_known_of_it() -> None:
    logged = LoggedEvent("order.placed", '{"order_id":1}', "7f", TIME, "berlin", "c-1", "6f", None, TRACE)

    told = logged_to_json(logged, "/shop")
    found = from_structured(told)

    assert (found.type, found.source, found.id, found.subject) == ("order.placed", "/shop", "7f", "berlin")
    assert (found.data, found.time, found.datacontenttype) == ({"order_id": 1}, TIME, "application/json")
    assert dict(found.extensions) == {"correlationid": "c-1", "causationid": "6f", "traceparent": TRACE}
    assert sdk.from_structured_event(sdk.HTTPMessage({}, told.encode())).get_data() == {"order_id": 1}


@settings(max_examples=50)
@given(st.text(), json_values)
def test_whatever_the_key_it_is_one_line_and_a_cloudevent(key: str, data: Any) -> None:
    """A key may hold anything; what no subject may hold is left out."""
    told = logged_to_json(LoggedEvent("tick", json.dumps(data), "1", TIME, key), "/shop")

    assert not set("\r\n\x00") & set(told)
    assert from_structured(told).subject in {key, None}


def test_a_message_is_told_with_the_source_that_it_came_from() -> None:
    assert (
        from_structured(logged_to_json(LoggedEvent("tick", "5", "1", TIME, source="/clock"), "/shop")).source
        == "/clock"
    )


def test_the_sdk_is_no_less_strict_than_we_are_about_names() -> None:
    """Where both refuse, the specification is meant."""
    for name in ("Upper", "with-dash", ""):
        with pytest.raises(CloudEventValidationError):
            SdkEvent({"type": "a", "source": "/", name: "x"}, None)
        with pytest.raises(CloudEventError):
            CloudEvent(type="a", source="/", id="1", extensions={name: "x"})
