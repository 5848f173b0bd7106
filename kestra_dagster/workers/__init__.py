"""Whole runs on workers: Celery hands them out by Redis, the database says who does what."""
