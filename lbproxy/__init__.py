"""lbproxy: the front door of identity-provider clusters."""

__version__ = "0.1.0"
