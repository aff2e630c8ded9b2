"""Celery's rooms: the worker and its beat. Tasks are doorbells; rows are the truth."""
