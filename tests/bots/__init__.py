"""The services and bots of examples/, with the libraries that they are written for."""
