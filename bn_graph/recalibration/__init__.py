"""Moving statistics estimated anew for a trained checkpoint, from data, with its weights frozen."""
