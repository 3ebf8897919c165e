"""``engine.registries``: who we are to registries, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proa.image.registry.credentials import Credentials
    from proa.image.registry.manifests import Fetched
    from proa.image.registry.session import Found
    from proa.oci.descriptor import Descriptor
    from proa.oci.platform import Platform


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

    def check(self, registry: str, credentials: Credentials) -> str:
        """Ask a registry whether it takes these credentials, without storing anything.

        Args:
            registry: ``host[:port]`` or a URL of it; empty: Docker Hub.
            credentials: whose.

        Returns:
            The identity token that the registry offers instead of the password; empty for none.

        Raises:
            Unauthorized: the registry refused them.
            Forbidden: they would have gone over plain HTTP.
            Unavailable: no answer.
        """
        from proa.image.registry.credentials import registry_of
        from proa.image.registry.session import check

        return check(registry_of(registry), credentials)

    def log_out(self, registry: str) -> bool:
        """Forget the credentials for a registry; False when there were none."""
        from proa.image.registry.credentials import CredentialStore, registry_of

        return CredentialStore().remove(registry_of(registry))

    def find_user(self, registry: str) -> str:
        """Return the user name that is stored for a registry, empty when none is."""
        from proa.image.registry.credentials import CredentialStore, registry_of

        return CredentialStore().find(registry_of(registry)).username

    def search(
        self, term: str, *, limit: int = 25, credentials: Credentials | None = None
    ) -> list[Found]:
        """Find repositories by a part of their name.

        Args:
            term: ``host/part`` looks through that registry's catalog, anything else asks the Hub.
            limit: most that are returned.
            credentials: for this question; None: what ``proa login`` stored.
        """
        from proa.image.registry.client import Client
        from proa.image.registry.hosts import HUB
        from proa.image.registry.session import search, split_term

        registry, part = split_term(term)
        with Client(credentials=credentials) as client:
            return search(client, part, registry or HUB, limit=limit)

    def get_manifest(self, ref: str, *, credentials: Credentials | None = None) -> Fetched:
        """Return the manifest or index that a name means in its registry, byte for byte.

        Args:
            ref: a reference.
            credentials: for this question; None: what ``proa login`` stored.

        Raises:
            NotFound: no such name there.
            Corrupt: not what its digest says.
        """
        from proa.image.registry.client import Client
        from proa.image.registry.manifests import get_manifest
        from proa.image.registry.repository import Repository
        from proa.oci.reference import parse_reference

        reference = parse_reference(ref)
        with Client(credentials=credentials) as client:
            repository = Repository(client, reference)
            return get_manifest(repository, str(reference.digest or reference.tag))

    def list_platforms(
        self, ref: str, *, credentials: Credentials | None = None
    ) -> tuple[Descriptor, tuple[Platform, ...]]:
        """Return what a name points at in its registry, and the platforms of its images.

        Arguments and errors as :meth:`get_manifest`.
        """
        from proa.image.registry.blobs import read_blob
        from proa.image.registry.client import Client
        from proa.image.registry.manifests import get_manifest
        from proa.image.registry.repository import Repository
        from proa.oci.codec import MAX_DOCUMENT_BYTES
        from proa.oci.imageconfig import parse_image_config
        from proa.oci.index import parse_index
        from proa.oci.manifest import is_index, parse_manifest
        from proa.oci.reference import parse_reference

        reference = parse_reference(ref)
        with Client(credentials=credentials) as client:
            repository = Repository(client, reference)
            found = get_manifest(repository, str(reference.digest or reference.tag))
            what = f"manifest {found.descriptor.digest} of {repository}"
            if is_index(found.data, what):
                entries = parse_index(found.data, what).manifests
                named = (one.platform for one in entries if one.platform is not None)
                # Attestations are entries without a platform, said as "unknown".
                return found.descriptor, tuple(one for one in named if one.os != "unknown")
            config = parse_manifest(found.data, what).config
            data = read_blob(repository, config, MAX_DOCUMENT_BYTES)
            image = parse_image_config(data, f"image config {config.digest}")
            return found.descriptor, (image.platform,)

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
