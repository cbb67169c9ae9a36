"""Kafka for a laptop, Dockerfile, Prometheus rules, dashboards; found by HERE when installed."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
