"""Many machines: pictures in folders or object stores, enlarged by Ray's workers; the extra `fleet`."""
