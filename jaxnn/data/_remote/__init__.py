"""Sets that are downloaded: where they lie on the web, how a file comes here whole, where it is kept."""
