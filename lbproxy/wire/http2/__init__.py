"""HTTP/2 without I/O. Source: RFC 9113; RFC 7541 for HPACK.

- `huffman`        the code of HPACK's strings
- `hpack_table`    the static table, and the dynamic one of either end
- `hpack_decoder`  blocks of fields that a client sends; `hpack_encoder` those of our answers
"""
