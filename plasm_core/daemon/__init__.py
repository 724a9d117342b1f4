"""plasmd: takes jobs over streams, keeps them, runs them, and hands out their results."""
