"""The plugin API: interfaces, the engine's interface in a worker, and hooks; also the loading of plugins."""
