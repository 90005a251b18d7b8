"""scores -> sentences. Knows a step function, never a model."""
