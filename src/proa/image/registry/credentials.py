"""Who we are to a registry: Docker's ``config.json`` and its credential helpers.

Lookup order for a registry (docker-cli, ``cli/config/configfile``): its entry in ``credHelpers``,
else the ``credsStore``, else ``auths``. ``DOCKER_CONFIG`` names the directory (default
``~/.docker``); ``DOCKER_AUTH_CONFIG`` holds a document with ``auths`` that wins over the file, for
CI machines that have no home. Helpers are spoken to over stdin and stdout; secrets are never
arguments and never part of a message.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from proa.errors import Invalid, NotFound, Unavailable, from_os_error
from proa.fs.atomicfile import save_file
from proa.image.registry.hosts import HUB, home

# The key under which every Docker client keeps the Hub's credentials.
_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_TIMEOUT_S = 60
# docker-credential-helpers, credentials/error.go: the helper's words for "nothing stored".
_HELPER_NOT_FOUND = "credentials not found in native keychain"
_TOKEN_USERNAME = "<token>"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """A user and a password, or an identity token (OAuth2 refresh token), or a bearer token."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)


ANONYMOUS = Credentials()


class CredentialStore:
    """Docker's ``config.json`` of one user.

    Args:
        directory: where ``config.json`` lies; empty for ``$DOCKER_CONFIG`` or ``~/.docker``.
        environment: of the user who asks; credential helpers are found and run in it.
    """

    def __init__(self, directory: str = "", environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        if not directory:
            directory = environment.get("DOCKER_CONFIG") or f"{home(environment)}/.docker"
        self.path = os.path.join(directory, "config.json")

    def find(self, registry: str) -> Credentials:
        """Return what is stored for ``registry`` (``docker.io``, ``host:port``), or ANONYMOUS.

        Raises:
            Invalid: the configuration is not JSON of the expected shape.
            Unavailable: a credential helper failed.
        """
        override = self._environment.get("DOCKER_AUTH_CONFIG")
        if override:
            found = _from_auths(_parse(override.encode(), "DOCKER_AUTH_CONFIG"), registry)
            if found:
                return found
        configuration = self._load()
        helper = _helper_of(configuration, registry)
        if helper:
            return self._ask_helper(helper, registry)
        return _from_auths(configuration, registry)

    def save(self, registry: str, credentials: Credentials) -> str:
        """Store ``credentials``; return the helper that took them, or empty for the file."""
        with self._changing() as configuration:
            helper = _helper_of(configuration, registry)
            if helper:
                document = {
                    "ServerURL": server_key(registry),
                    "Username": credentials.username or _TOKEN_USERNAME,
                    "Secret": credentials.identity_token or credentials.password,
                }
                if credentials.identity_token:
                    document["Username"] = _TOKEN_USERNAME
                _run_helper(helper, "store", json.dumps(document), self._environment)
                # An entry without secrets marks the registry as known, as Docker's client does.
                _auths(configuration)[server_key(registry)] = {}
            else:
                _auths(configuration)[server_key(registry)] = _encode(credentials)
        return helper

    def remove(self, registry: str) -> bool:
        """Forget what is stored for ``registry``; False when nothing was."""
        with self._changing() as configuration:
            helper = _helper_of(configuration, registry)
            known = False
            if helper:
                known = bool(self._ask_helper(helper, registry))
                if known:
                    _run_helper(helper, "erase", server_key(registry), self._environment)
            auths = _auths(configuration)
            for key in [key for key in auths if registry_of(key) == registry]:
                del auths[key]
                known = True
        return known

    def _ask_helper(self, helper: str, registry: str) -> Credentials:
        try:
            answer = json.loads(_run_helper(helper, "get", server_key(registry), self._environment))
            username, secret = str(answer["Username"]), str(answer["Secret"])
        except NotFound:
            return ANONYMOUS
        except (ValueError, KeyError, TypeError):
            raise Unavailable(
                f"docker-credential-{helper} gave an answer that is not its protocol"
            ) from None
        if username == _TOKEN_USERNAME:
            return Credentials(identity_token=secret)
        return Credentials(username=username, password=secret)

    def _load(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                text = file.read()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise from_os_error(error, f"cannot read the credentials in {self.path}") from error
        return _parse(text, self.path)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Any]]:
        """Load, let the caller change, replace atomically; unknown keys of the file stay."""
        configuration = self._load()
        before = json.dumps(configuration)
        yield configuration
        if json.dumps(configuration) == before:
            return
        # Write through a symlink to where the file really is, as Docker's client does.
        path = os.path.realpath(self.path)
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            save_file(path, json.dumps(configuration, indent="\t").encode(), mode=0o600)
        except OSError as error:
            raise from_os_error(error, f"cannot save the credentials in {path}") from error


def server_key(registry: str) -> str:
    """Return the name under which Docker's clients and helpers keep a registry."""
    return _HUB_KEY if registry == HUB else registry


def registry_of(key: str) -> str:
    """Reduce what names a registry (``https://host/v1/``, ``host``, empty for the Hub) to it."""
    host = re.sub(r"^https?://", "", key).partition("/")[0]
    return HUB if host in ("", "index.docker.io", "registry-1.docker.io") else host


def _parse(text: bytes, source: str) -> dict[str, Any]:
    try:
        configuration = json.loads(text or b"{}")
    except ValueError as error:
        # The decoder's own message may quote the document, which holds secrets.
        raise Invalid(f"{source} is not JSON", "mend it or move it away, then log in again") from (
            error if isinstance(error, UnicodeDecodeError) else None
        )
    if not isinstance(configuration, dict) or not all(
        isinstance(configuration.get(key, {}), dict) for key in ("auths", "credHelpers")
    ):
        raise Invalid(f"{source} is not a Docker client configuration")
    return configuration


def _auths(configuration: dict[str, Any]) -> dict[str, Any]:
    auths: dict[str, Any] = configuration.setdefault("auths", {})
    return auths


def _helper_of(configuration: dict[str, Any], registry: str) -> str:
    helpers = configuration.get("credHelpers", {})
    for key, name in helpers.items():
        if registry_of(key) == registry:
            return str(name)
    return str(configuration.get("credsStore") or "")


def _from_auths(configuration: dict[str, Any], registry: str) -> Credentials:
    auths = configuration.get("auths", {})
    keys = [server_key(registry), *(key for key in auths if registry_of(key) == registry)]
    for key in keys:
        entry = auths.get(key)
        if isinstance(entry, dict):
            credentials = _decode(entry, registry)
            if credentials:
                return credentials
    return ANONYMOUS


def _decode(entry: dict[str, Any], registry: str) -> Credentials:
    username, password = str(entry.get("username", "")), str(entry.get("password", ""))
    encoded = entry.get("auth")
    if encoded:
        try:
            pair = base64.b64decode(str(encoded), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Invalid(f"the stored credentials of {registry} are not base64") from None
        username, _, password = pair.partition(":")
        password = password.rstrip("\0")
    return Credentials(
        username=username,
        password=password,
        identity_token=str(entry.get("identitytoken", "")),
        registry_token=str(entry.get("registrytoken", "")),
    )


def _encode(credentials: Credentials) -> dict[str, str]:
    pair = f"{credentials.username}:{credentials.password}"
    if credentials.identity_token:
        pair = f"{credentials.username}:"
    entry = {"auth": base64.b64encode(pair.encode()).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    return entry


def _run_helper(helper: str, action: str, text: str, environment: Mapping[str, str]) -> str:
    """Run ``docker-credential-<helper> <action>`` with ``text`` on stdin; return its stdout."""
    import subprocess

    if not _HELPER_NAME.fullmatch(helper):
        raise Invalid(f"{helper!r} is not the name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, action],
            input=text,
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable(
            f"the credential helper {program} is not installed",
            "install it, or take it out of config.json and log in again",
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        # A timeout carries what the helper wrote, secrets maybe: only its kind is named.
        raise Unavailable(
            f"the credential helper {program} did not answer ({type(error).__name__})"
        ) from None
    if done.returncode:
        reason = (done.stdout or done.stderr).strip()
        if _HELPER_NOT_FOUND in reason:
            raise NotFound(f"{program} has no credentials")
        raise Unavailable(f"{program} {action} failed", _printable(reason))
    return done.stdout


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:200]
