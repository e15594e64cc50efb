"""Clusters of Kubernetes: listed and watched, kept small, told as services."""
