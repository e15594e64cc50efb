"""What a Kubernetes cluster holds for a service, as values: parsed, counted, compared."""
