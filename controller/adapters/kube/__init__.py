"""Clusters of Kubernetes: one client for whoever looks and whoever acts."""
