"""What Promptmill knows about Google's models, before anything is sent."""
