"""Requests and answers as JSON."""
