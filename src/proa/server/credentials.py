"""Who the client is to a registry: the header ``X-Registry-Auth``.

Base64 (URL alphabet, padded or not) of JSON with ``username`` and ``password``, ``identitytoken``
or ``registrytoken``; moby, ``api/types/registry/authconfig.go``. What cannot be read counts as
nothing, as with Docker. The server never falls back to what root has stored for itself.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec

from proa.server.call import Call

if TYPE_CHECKING:
    from proa.image.registry.credentials import Credentials

HEADER = "x-registry-auth"


class AuthConfig(msgspec.Struct, frozen=True, rename="lower"):
    """Docker's ``AuthConfig``."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = msgspec.field(default="", name="serveraddress")
    identity_token: str = msgspec.field(default="", name="identitytoken")
    registry_token: str = msgspec.field(default="", name="registrytoken")

    def credentials(self) -> Credentials:
        """Return them in the engine's shape."""
        from proa.image.registry.credentials import Credentials

        return Credentials(
            username=self.username,
            password=self.password,
            identity_token=self.identity_token,
            registry_token=self.registry_token,
        )


def credentials_of(call: Call) -> Credentials:
    """Return whom a request speaks for; anonymous if it does not say."""
    return _read(call.headers.get(HEADER, "")).credentials()


def _read(header: str) -> AuthConfig:
    text = header.strip().replace("+", "-").replace("/", "_").rstrip("=")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(data, type=AuthConfig)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return AuthConfig()
