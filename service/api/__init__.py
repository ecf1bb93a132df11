"""HTTP: one router a resource, and what all requests pass through."""
