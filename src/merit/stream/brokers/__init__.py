"""Brokers: NATS, Redis, RabbitMQ and Kafka behind one interface."""
