"""What the server takes from a client, and for how long it waits."""

MOST_BYTES = 4 << 20  # of a request's body
MOST_BYTES_HELD = 64 << 20  # of all bodies that are being read or wait, and of the rows made of them
MOST_ROWS = 10_000  # of a request
MOST_WAITING = 256  # requests that wait for a forward pass
MOST_CONNECTIONS = 400  # below the 1,024 open files that most systems allow a process

READING_SECONDS = 10.0  # until a request must be there
ANSWER_SECONDS = 30.0  # from its first byte until the client has taken the answer
IDLE_SECONDS = 15  # that a connection stays open after an answer
STOPPING_SECONDS = 30  # that requests have to end after SIGTERM
