"""What plugin authors import: the interfaces, an engine's side of a worker, the hooks; and how plugins are loaded."""
