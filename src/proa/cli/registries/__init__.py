"""Commands about registries themselves: log in, log out, search."""
