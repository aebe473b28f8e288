"""What every Promptmill process agrees on: settings, queues, names of objects, errors, logging."""
