"""Prometheus and what speaks its language: few queries for all services, answered in leaves."""
