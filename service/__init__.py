"""The service: a catalogue of recordings and emotions, searched over HTTP.

HTTP lives in :mod:`service.app` and :mod:`service.api`; everything below them works without it, and
the command line uses it through :mod:`service.catalogue` and :mod:`service.offline`.
"""
