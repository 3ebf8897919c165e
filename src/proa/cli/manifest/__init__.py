"""Commands about manifests in registries."""
