"""How the shipped encoder was made: drawn documents, text and image towers, training and export."""
