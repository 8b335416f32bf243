"""The storybook: what the embedded model's world holds, how it is drawn and what is said of it."""
