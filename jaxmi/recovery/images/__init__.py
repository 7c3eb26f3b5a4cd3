"""Images: templates among the training images, metrics, forms of conditions."""
