"""The page of `penstock up`: files that are built from `web/` at the top of the project, and how they are served."""

from penstock.interfaces.web.pages import page_routes

__all__ = ["page_routes"]
