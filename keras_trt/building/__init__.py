"""`build`: plans of a bundle on the machine that will run them."""
