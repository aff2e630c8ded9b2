"""One module a noun: read the request, ask the update manager, show a view model."""
