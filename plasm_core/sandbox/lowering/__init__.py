"""Features that an engine lacks, expressed by those that it has, in a module that is metered already."""
