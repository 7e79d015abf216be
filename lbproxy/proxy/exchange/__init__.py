"""One request and its response, and the roles on its two sides."""
