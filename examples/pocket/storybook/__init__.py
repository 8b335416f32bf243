"""The storybook: scenes of the embedded model's training data, their rendering and captions."""
