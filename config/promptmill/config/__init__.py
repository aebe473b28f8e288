"""What all Promptmill processes share: settings, queues, object names, errors, logging."""
