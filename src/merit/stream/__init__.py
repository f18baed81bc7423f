"""Stream prediction (`merit stream`): score events of a message broker in micro-batches, with at-least-once delivery.

`run` connects the parts. A broker (`brokers`, `on_nats`, `on_redis`, `on_rabbit`, `on_kafka`) delivers events to the
`engine`, which scores them by the `scorer` and publishes the predictions. Redelivered events, which may have killed a
worker, are scored by `alone` in a child process.
"""
