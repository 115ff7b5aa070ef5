"""The version, in one place: read by the build and by `import jaxnn`."""

__version__ = "0.1.0"
