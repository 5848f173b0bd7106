"""Real servers on a laptop: PostgreSQL, S3 and a sample HTTP source, from wheels alone."""
