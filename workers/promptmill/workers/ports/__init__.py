"""The interfaces to the outside world. Adapters and fakes implement them and pass one contract suite."""
