"""From a module's bytes to an artefact that a worker can run, or a refusal that says why."""
