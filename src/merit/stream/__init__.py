"""stream: events from a broker, scored in micro-batches, and their answers, at least once.

`run` joins the parts: a broker (`brokers`, `on_nats`, `on_redis`, `on_rabbit`, `on_kafka`) hands events to the
`engine`, which has the `scorer` answer them; those that came before, and perhaps killed a worker, `alone` in a child
process.
"""
