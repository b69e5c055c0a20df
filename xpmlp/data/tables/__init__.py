"""Tables: columns of numbers, categories and dates, and the features that are made of them."""
