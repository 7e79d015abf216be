"""The bytes of a connection, of either side.

- `pipe`       one transport: writing, reasons not to read, the end
- `tls_layer`  TLS between a socket and the protocol above it, over memory BIOs
- `tls`        contexts and certificates; `tickets` keys of session tickets, the same everywhere
- `unread`     what the kernel still holds of a lost connection; `causes` why it was lost
- `polled`     what the kernel has heard of one, and the event loop has not yet
"""
