"""``engine.registries``: who we are to registries, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.image.registry.manifests import Fetched
    from proa.image.registry.session import Found
    from proa.oci.descriptor import Descriptor


class Registries:
    """Verbs on registries; they work on no state of the engine's."""

    def log_in(self, registry: str, username: str, password: str) -> str:
        """Check credentials with a registry and store them where Docker's client does.

        Args:
            registry: ``host[:port]`` or a URL of it; empty: Docker Hub.
            username, password: what the user typed.

        Returns:
            The credential helper that keeps them, or empty when it is Docker's ``config.json``.

        Raises:
            Unauthorized: the registry refused them; nothing was stored.
            Forbidden: they would have gone over plain HTTP.
            Unavailable: no answer.
        """
        from proa.image.registry.credentials import CredentialStore, registry_of
        from proa.image.registry.session import log_in

        return log_in(registry_of(registry), username, password, store=CredentialStore())

    def log_out(self, registry: str) -> bool:
        """Forget the credentials for a registry; False when there were none."""
        from proa.image.registry.credentials import CredentialStore, registry_of

        return CredentialStore().remove(registry_of(registry))

    def find_user(self, registry: str) -> str:
        """Return the user name that is stored for a registry, empty when none is."""
        from proa.image.registry.credentials import CredentialStore, registry_of

        return CredentialStore().find(registry_of(registry)).username

    def search(self, term: str, *, limit: int = 25) -> list[Found]:
        """Find repositories by a part of their name.

        Args:
            term: ``host/part`` looks through that registry's catalog, anything else asks the Hub.
            limit: most that are returned.
        """
        from proa.image.registry.client import Client
        from proa.image.registry.hosts import HUB
        from proa.image.registry.session import search, split_term

        registry, part = split_term(term)
        with Client() as client:
            return search(client, part, registry or HUB, limit=limit)

    def get_manifest(self, ref: str) -> Fetched:
        """Return the manifest or index that a name means in its registry, byte for byte.

        Raises:
            NotFound: no such name there.
            Corrupt: not what its digest says.
        """
        from proa.image.registry.client import Client
        from proa.image.registry.manifests import get_manifest
        from proa.image.registry.repository import Repository
        from proa.oci.reference import parse_reference

        reference = parse_reference(ref)
        with Client() as client:
            repository = Repository(client, reference)
            return get_manifest(repository, str(reference.digest or reference.tag))

    def list_referrers(self, ref: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """Return what refers to an image in its registry: signatures, SBOMs, attestations.

        Args:
            ref: a reference; a tag is resolved first.
            artifact_type: only these; empty: all.
        """
        from proa.image.registry.client import Client
        from proa.image.registry.manifests import get_manifest, list_referrers
        from proa.image.registry.repository import Repository
        from proa.oci.reference import parse_reference

        reference = parse_reference(ref)
        with Client() as client:
            repository = Repository(client, reference)
            subject = reference.digest
            if subject is None:
                subject = get_manifest(repository, reference.tag).descriptor.digest
            return list_referrers(repository, subject, artifact_type)
