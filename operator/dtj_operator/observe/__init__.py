"""What is: watches and scrapes, and the immutable view that is made of them."""
