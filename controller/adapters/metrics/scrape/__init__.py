"""Exporters asked directly, where no Prometheus keeps what they say."""
