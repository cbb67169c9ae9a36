"""The loops, their doors to Kafka, Qdrant and Prometheus, and the command line."""
