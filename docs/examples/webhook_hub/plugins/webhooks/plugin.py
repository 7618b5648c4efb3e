"""The plugin: one endpoint, which trusts nobody before the signature is checked."""

from __future__ import annotations

from typing import Annotated, Any

from hub_events import Deliver, Receipt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SecretStr
from pydantic_core import from_json

from plugbus import EventBus, Invalid, Plugin, Principal, Problem, Unavailable, acting_as
from plugbus_adapters.http import Body, Header, Unauthenticated, endpoint

from .once import Once
from .signature import is_signed

__all__ = ("Accepted", "Webhooks")

GITHUB = Principal("github")

Kind = Annotated[str, Header("X-GitHub-Event")]
DeliveryId = Annotated[str, Header("X-GitHub-Delivery"), Field(pattern=r"^[0-9A-Za-z-]{1,64}$")]
Signature = Annotated[str, Header("X-Hub-Signature-256")]


class Accepted(BaseModel):
    """What GitHub shows beside a delivery that was accepted."""

    model_config = ConfigDict(frozen=True)

    delivery: str
    name: str
    typed: bool
    repeated: bool


class Webhooks(Plugin):
    """Serves ``POST /webhooks/github``: signed deliveries go to the intake, each id once.

    Args:
        bus: Where the intake answers.
        settings: The secret, and how many deliveries are remembered.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

        secret: Annotated[SecretStr, Field(min_length=16)] | None = None  # PLUGBUS_WEBHOOKS__SECRET; without it: 503
        remembered: PositiveInt = 10_000

    def __init__(self, bus: EventBus, settings: Settings) -> None:
        self._bus, self._secret = bus, settings.secret
        self._once: Once[Receipt] = Once(settings.remembered)

    @endpoint("POST", "/webhooks/github", status=202, auth="public", tags=["webhooks"])
    async def take(
        self, event: Kind, delivery: DeliveryId, body: Annotated[bytes, Body()], signature: Signature = ""
    ) -> Accepted:
        """Take a delivery of GitHub's; one that was accepted already is answered as before, and emits nothing."""
        self._check(body, signature)
        payload = _payload_of(body)

        async def deliver() -> Receipt:
            with acting_as(GITHUB, correlation_id=delivery):
                return await self._bus.acall(Deliver(event=event, payload=payload))

        receipt, repeated = await self._once.run(delivery, deliver)
        return Accepted(delivery=delivery, name=receipt.name, typed=receipt.typed, repeated=repeated)

    def _check(self, body: bytes, signature: str) -> None:
        if self._secret is None:
            raise Unavailable("webhooks are not set up: this hub has no secret to check signatures with")
        if not is_signed(self._secret.get_secret_value(), body, signature):
            told = "the signature is not that of this body" if signature else "there is no X-Hub-Signature-256"
            raise Unauthenticated(told, challenge='Webhook header="X-Hub-Signature-256"')


def _payload_of(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        problem = Problem("body", f"{error}", "choose the content type application/json for the webhook")
        raise Invalid("the body is no JSON", problems=[problem]) from None
