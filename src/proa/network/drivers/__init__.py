"""How a network is made and how a container gets on it; a module a driver."""
